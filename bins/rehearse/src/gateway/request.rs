//! What a request asks of which service: from its signature, target, form, or method and path.

use http::request::Parts;
use http::{HeaderMap, Method};

use super::params::Params;

/// How a service's requests and errors look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// EC2's query protocol.
    Ec2,
    /// The query protocol.
    Query,
    /// AWS JSON 1.0.
    Json10,
    /// AWS JSON 1.1.
    Json11,
    /// REST with XML: S3.
    RestXml,
    /// REST with JSON, and whatever else answers errors in JSON.
    RestJson,
}

/// A request, identified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The service's name in the credential scope: `ec2`, `elasticloadbalancing`, `s3` …
    pub service: String,
    /// `RunInstances` …; for REST services other than S3 the method and path.
    pub action: String,
    /// From the credential scope.
    pub region: Option<String>,
    /// The access key that signed it.
    pub key: Option<String>,
    /// By which it speaks.
    pub protocol: Protocol,
}

impl Asked {
    /// Identifies a request; `form` is its body if that is a form.
    #[must_use]
    pub fn of(parts: &Parts, form: Option<&Params>) -> Self {
        let query = Params::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let (key, region, service) = match scope(&parts.headers, &query) {
            Some(Scope { key, region, service }) => (Some(key), Some(region), service),
            None => (query.get("AWSAccessKeyId").map(str::to_owned), None, unsigned(parts, form)),
        };
        let target = parts.headers.get("x-amz-target").and_then(|value| value.to_str().ok());
        let action_of = |params: &Params| params.get("Action").map(str::to_owned);
        let path = parts.uri.path();
        let (action, protocol) = if let Some(target) = target {
            let json10 = content_type(&parts.headers).starts_with("application/x-amz-json-1.0");
            let action = target.rsplit('.').next().unwrap_or(target).to_owned();
            (action, if json10 { Protocol::Json10 } else { Protocol::Json11 })
        } else if service == "s3" {
            (s3(&parts.method, parts, &query), Protocol::RestXml)
        } else if let Some(action) = form.and_then(action_of).or_else(|| action_of(&query)) {
            (action, if service == "ec2" { Protocol::Ec2 } else { Protocol::Query })
        } else if let Some((_, operation)) = path.split_once("/operation/") {
            // Smithy RPC v2: POST /service/NAME/operation/NAME.
            (operation.to_owned(), Protocol::RestJson)
        } else {
            (format!("{} {path}", parts.method), Protocol::RestJson)
        };
        Asked { service, action, region, key, protocol }
    }

    /// Whether it may change what has a body: instances, images, groups, balancers.
    #[must_use]
    pub fn may_change_bodies(&self) -> bool {
        matches!(self.service.as_str(), "ec2" | "autoscaling" | "elasticloadbalancing")
            && !["Describe", "Get", "List"].iter().any(|reading| self.action.starts_with(reading))
    }
}

/// The parameters of the query protocol where they stand in the address: GET is the same call as POST, signed by a header or
/// presigned (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html>).
#[must_use]
pub fn query_form(parts: &Parts) -> Option<Params> {
    let query = Params::parse(parts.uri.query().unwrap_or_default().as_bytes());
    let service = scope(&parts.headers, &query)?.service;
    let asks = parts.method == Method::GET && parts.uri.path() == "/" && service != "s3";
    (asks && query.get("Action").is_some()).then(|| {
        // What signs the call is no parameter of it.
        let signs = ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature", "Security-Token"];
        let mut params = query;
        signs.iter().for_each(|name| params.remove(&format!("X-Amz-{name}")));
        params
    })
}

/// Whether the body is a form: the query protocol's.
#[must_use]
pub fn is_form(headers: &HeaderMap) -> bool {
    content_type(headers).starts_with("application/x-www-form-urlencoded")
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// What a SigV4 credential names.
struct Scope {
    key: String,
    region: String,
    service: String,
}

/// The SigV4 credential, in the header or presigned in the query.
fn scope(headers: &HeaderMap, query: &Params) -> Option<Scope> {
    let header = headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let credential = match header {
        Some(header) => header.split_once("Credential=")?.1.split([',', ' ']).next()?,
        None => query.get("X-Amz-Credential")?,
    };
    // KEY/DATE/REGION/SERVICE/aws4_request; SigV4A has no region.
    let parts: Vec<&str> = credential.split('/').collect();
    match parts.as_slice() {
        [key, .., region, service, "aws4_request"] => {
            Some(Scope { key: (*key).to_owned(), region: (*region).to_owned(), service: service.to_ascii_lowercase() })
        }
        _ => None,
    }
}

/// Requests that need no signature: STS's exchange of a web identity; all else is a public object.
fn unsigned(parts: &Parts, form: Option<&Params>) -> String {
    let action = form.and_then(|form| form.get("Action")).unwrap_or_default();
    if parts.uri.path() == "/" && action.starts_with("AssumeRoleWith") { "sts".to_owned() } else { "s3".to_owned() }
}

/// The names of S3's operations, as far as tools use them; the rest by method and what it is about.
fn s3(method: &Method, parts: &Parts, query: &Params) -> String {
    let host = parts.headers.get(http::header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let virtual_host = host.contains(".s3.") || host.contains(".s3-");
    let path = parts.uri.path().trim_start_matches('/');
    let (bucket, key) = if virtual_host {
        (true, !path.is_empty())
    } else {
        (!path.is_empty(), path.split_once('/').is_some_and(|(_, key)| !key.is_empty()))
    };
    let has = |name: &str| query.get(name).is_some();
    let copy = parts.headers.contains_key("x-amz-copy-source");
    let verb = match *method {
        Method::GET => "Get",
        Method::PUT => "Put",
        Method::DELETE => "Delete",
        Method::HEAD => "Head",
        _ => "Post",
    };
    if key {
        return match (verb, ()) {
            ("Post", ()) if has("uploads") => "CreateMultipartUpload".to_owned(),
            ("Post", ()) if has("uploadId") => "CompleteMultipartUpload".to_owned(),
            ("Post", ()) if has("restore") => "RestoreObject".to_owned(),
            ("Post", ()) if has("select") => "SelectObjectContent".to_owned(),
            ("Put", ()) if has("uploadId") => if copy { "UploadPartCopy" } else { "UploadPart" }.to_owned(),
            ("Get", ()) if has("uploadId") => "ListParts".to_owned(),
            ("Delete", ()) if has("uploadId") => "AbortMultipartUpload".to_owned(),
            ("Get", ()) if has("attributes") => "GetObjectAttributes".to_owned(),
            ("Put", ()) if copy => "CopyObject".to_owned(),
            (verb, ()) => {
                let about = [
                    ("tagging", "Tagging"),
                    ("acl", "Acl"),
                    ("retention", "Retention"),
                    ("legal-hold", "LegalHold"),
                    ("torrent", "Torrent"),
                ];
                let about = about.iter().find(|(name, _)| has(name)).map_or("", |(_, about)| about);
                format!("{verb}Object{about}")
            }
        };
    }
    if !bucket {
        return if verb == "Get" { "ListBuckets".to_owned() } else { format!("{method} /") };
    }
    let about = [
        ("versioning", "Versioning"),
        ("policy", "Policy"),
        ("tagging", "Tagging"),
        ("acl", "Acl"),
        ("encryption", "Encryption"),
        ("lifecycle", "LifecycleConfiguration"),
        ("cors", "Cors"),
        ("website", "Website"),
        ("logging", "Logging"),
        ("notification", "NotificationConfiguration"),
        ("replication", "Replication"),
        ("ownershipControls", "OwnershipControls"),
        ("requestPayment", "RequestPayment"),
        ("accelerate", "AccelerateConfiguration"),
    ];
    if let Some((_, about)) = about.iter().find(|(name, _)| has(name)) {
        return format!("{verb}Bucket{about}");
    }
    match verb {
        "Get" if has("location") => "GetBucketLocation".to_owned(),
        "Get" if has("uploads") => "ListMultipartUploads".to_owned(),
        "Get" if has("versions") => "ListObjectVersions".to_owned(),
        "Get" if has("object-lock") => "GetObjectLockConfiguration".to_owned(),
        "Put" if has("object-lock") => "PutObjectLockConfiguration".to_owned(),
        "Get" if has("publicAccessBlock") => "GetPublicAccessBlock".to_owned(),
        "Put" if has("publicAccessBlock") => "PutPublicAccessBlock".to_owned(),
        "Get" if query.get("list-type") == Some("2") => "ListObjectsV2".to_owned(),
        "Get" => "ListObjects".to_owned(),
        "Put" => "CreateBucket".to_owned(),
        "Delete" => "DeleteBucket".to_owned(),
        "Head" => "HeadBucket".to_owned(),
        _ if has("delete") => "DeleteObjects".to_owned(),
        _ => "PostObject".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use http::Request;

    fn asked(method: &str, uri: &str, headers: &[(&str, &str)], form: Option<&str>) -> (String, String, Protocol) {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let form = form.map(|form| Params::parse(form.as_bytes()));
        let asked = Asked::of(&parts, form.as_ref());
        (asked.service, asked.action, asked.protocol)
    }

    #[test]
    fn the_query_protocol_may_stand_in_the_address() {
        let form = |method: &str, uri: &str| {
            let (parts, ()) = Request::builder().method(method).uri(uri).body(()).unwrap().into_parts();
            query_form(&parts).map(|form| form.form())
        };
        let presigned = "Action=RunInstances&ImageId=ami-1&X-Amz-Credential=AKIA%2F20260101%2Fus-east-1%2Fec2%2Faws4_request&\
            X-Amz-Signature=0&X-Amz-Date=20260101T000000Z";
        assert_eq!(form("GET", &format!("/?{presigned}")).unwrap(), "Action=RunInstances&ImageId=ami-1");
        assert_eq!(form("POST", &format!("/?{presigned}")), None);
        assert_eq!(form("GET", &format!("/key?{}", presigned.replace("ec2", "s3"))), None);
    }

    #[test]
    fn requests_are_identified() {
        const EC2: &str =
            "AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=0";
        const SSM: &str =
            "AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/ssm/aws4_request,SignedHeaders=host,Signature=0";
        const S3: &str =
            "AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        const CW: &str =
            "AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/monitoring/aws4_request, SignedHeaders=host";
        let s3 = [("authorization", S3)];
        let copy = [("authorization", S3), ("x-amz-copy-source", "/b/k")];
        let host = [("authorization", S3), ("host", "b.s3.us-east-1.amazonaws.com")];
        let presigned = "/b/k?X-Amz-Credential=AKIA%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Expires=9";
        let cases = [
            (
                asked("POST", "/", &[("authorization", EC2)], Some("Action=RunInstances&Version=1")),
                "ec2",
                "RunInstances",
                Protocol::Ec2,
            ),
            (
                asked("GET", "/?Action=DescribeInstances", &[("authorization", EC2)], None),
                "ec2",
                "DescribeInstances",
                Protocol::Ec2,
            ),
            (
                asked("POST", "/", &[("authorization", SSM), ("x-amz-target", "AmazonSSM.SendCommand")], None),
                "ssm",
                "SendCommand",
                Protocol::Json11,
            ),
            (
                asked("POST", "/service/G/operation/PutMetricData", &[("authorization", CW)], None),
                "monitoring",
                "PutMetricData",
                Protocol::RestJson,
            ),
            (
                asked("POST", "/", &[], Some("Action=AssumeRoleWithWebIdentity")),
                "sts",
                "AssumeRoleWithWebIdentity",
                Protocol::Query,
            ),
            (asked("GET", presigned, &[], None), "s3", "GetObject", Protocol::RestXml),
            (asked("GET", "/bucket/latest/x.deb", &[], None), "s3", "GetObject", Protocol::RestXml),
            (asked("PUT", "/b", &s3, None), "s3", "CreateBucket", Protocol::RestXml),
            (asked("PUT", "/b/", &s3, None), "s3", "CreateBucket", Protocol::RestXml),
            (asked("GET", "/", &s3, None), "s3", "ListBuckets", Protocol::RestXml),
            (asked("GET", "/b?list-type=2&prefix=x", &s3, None), "s3", "ListObjectsV2", Protocol::RestXml),
            (asked("GET", "/b?versioning", &s3, None), "s3", "GetBucketVersioning", Protocol::RestXml),
            (asked("PUT", "/b/a/k", &s3, None), "s3", "PutObject", Protocol::RestXml),
            (asked("PUT", "/k", &host, None), "s3", "PutObject", Protocol::RestXml),
            (asked("PUT", "/b/k", &copy, None), "s3", "CopyObject", Protocol::RestXml),
            (asked("HEAD", "/b/k", &s3, None), "s3", "HeadObject", Protocol::RestXml),
            (asked("POST", "/b/k?uploads", &s3, None), "s3", "CreateMultipartUpload", Protocol::RestXml),
            (asked("PUT", "/b/k?partNumber=1&uploadId=x", &s3, None), "s3", "UploadPart", Protocol::RestXml),
            (asked("POST", "/b/k?uploadId=x", &s3, None), "s3", "CompleteMultipartUpload", Protocol::RestXml),
            (asked("POST", "/b?delete", &s3, None), "s3", "DeleteObjects", Protocol::RestXml),
            (asked("GET", "/b/k?tagging", &s3, None), "s3", "GetObjectTagging", Protocol::RestXml),
        ];
        for ((service, action, protocol), expected_service, expected_action, expected_protocol) in cases {
            assert_eq!(
                (service.as_str(), action.as_str(), protocol),
                (expected_service, expected_action, expected_protocol)
            );
        }
    }

    #[test]
    fn the_key_stands_in_the_header_or_in_a_presigned_query() {
        let key = |uri: &str, header: Option<&str>| {
            let mut request = Request::builder().uri(uri);
            if let Some(header) = header {
                request = request.header("authorization", header);
            }
            Asked::of(&request.body(()).unwrap().into_parts().0, None).key
        };
        let header = "AWS4-HMAC-SHA256 Credential=AKIA1/20260101/us-east-1/s3/aws4_request, SignedHeaders=host";
        assert_eq!(key("/b/k", Some(header)).as_deref(), Some("AKIA1"));
        let presigned = "/b/k?X-Amz-Credential=AKIA2%2F20260101%2Fus-east-1%2Fs3%2Faws4_request";
        assert_eq!(key(presigned, None).as_deref(), Some("AKIA2"));
        assert_eq!(key("/b/k?AWSAccessKeyId=AKIA3&Expires=9", None).as_deref(), Some("AKIA3"));
        assert_eq!(key("/b/k", None), None);
    }

    #[test]
    fn only_what_can_change_bodies_wakes_the_loop() {
        let of = |service: &str, action: &str| Asked {
            service: service.to_owned(),
            action: action.to_owned(),
            region: None,
            key: None,
            protocol: Protocol::Query,
        };
        assert!(of("elasticloadbalancing", "ModifyRule").may_change_bodies());
        assert!(!of("ec2", "DescribeInstances").may_change_bodies());
        assert!(!of("s3", "PutObject").may_change_bodies());
    }
}
