//! The registry between build and orchestration: one bucket.
//!
//! `APP/releases/VERSION/` holds the immutable release, `APP/records/SHA256.json` the immutable records,
//! `APP/versions/VERSION.json` the pointer to the newest chain of a version, and `APP/envs/ENV/` what an environment is.

mod age;

use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::age::Answered;
use crate::aws::{Aws, OrAws as _, code};
use crate::failure::{Failure, OrFail as _, Result};
use crate::ids::Digest;
use crate::records::{Facts, Record, Step};

/// What became of an object that must never be overwritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is new.
    New,
    /// The same content was there already.
    Same,
    /// Other content is there, with this digest (none where it carries no digest).
    Other(Option<String>),
}

/// A value in S3 with the tag that a compare-and-swap needs.
#[derive(Clone, Debug)]
pub struct Tagged<T> {
    /// The value.
    pub value: T,
    /// S3's entity tag.
    pub etag: String,
    /// How long ago it was written, by S3's own clock; in whole seconds.
    pub age: Duration,
}

/// The bucket, seen by one app.
#[derive(Clone, Debug)]
pub struct Registry {
    aws: Aws,
    bucket: String,
    app: String,
}

/// The metadata key under which gyron keeps an object's SHA-256: S3's own default checksum is CRC64NVME.
const SHA256: &str = "sha256";

impl Registry {
    /// The registry of `app` in `bucket`.
    #[must_use]
    pub fn new(aws: &Aws, bucket: &str, app: &str) -> Self {
        Registry { aws: aws.clone(), bucket: bucket.to_owned(), app: app.to_owned() }
    }

    /// The bucket's name.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// `APP/…`
    #[must_use]
    pub fn key(&self, rest: &str) -> String {
        format!("{}/{rest}", self.app)
    }

    /// `APP/envs/ENV/…`
    #[must_use]
    pub fn env_key(&self, env: &str, rest: &str) -> String {
        self.key(&format!("envs/{env}/{rest}"))
    }

    /// Puts a file that must never be overwritten (`If-None-Match: *`), with its SHA-256.
    ///
    /// # Errors
    /// AWS (4); usage (2) where the bucket isn't there.
    pub async fn put_once(&self, key: &str, file: &Path, sha256: &Digest) -> Result<Put> {
        for _ in 0..5 {
            let body = ByteStream::from_path(file)
                .await
                .or_fail(|| Failure::defect(format!("can't read {}", file.display())))?;
            let put = self
                .aws
                .s3
                .put_object()
                .bucket(&self.bucket)
                .key(key)
                .if_none_match("*")
                .metadata(SHA256, sha256.as_str())
                .checksum_sha256(base64_of(sha256)?)
                .body(body)
                .send()
                .await;
            match put {
                Ok(_) => return Ok(Put::New),
                // 409: another writer is at the same key right now; S3 asks to try again.
                Err(error) if code(&error) == Some("ConditionalRequestConflict") => {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Err(error) if code(&error) == Some("PreconditionFailed") => {
                    let there = self.sha256(key).await?;
                    let same = there.as_deref() == Some(sha256.as_str());
                    return Ok(if same { Put::Same } else { Put::Other(there) });
                }
                Err(error) if code(&error) == Some("NoSuchBucket") => return Err(self.no_bucket()),
                Err(error) => return Err(error).or_aws(&format!("PutObject s3://{}/{key}", self.bucket)),
            }
        }
        Err(self.written_by_others(key))
    }

    /// The SHA-256 of an object, `None` where there is no such object or it carries none.
    ///
    /// # Errors
    /// AWS (4).
    pub async fn sha256(&self, key: &str) -> Result<Option<String>> {
        match self.aws.s3.head_object().bucket(&self.bucket).key(key).send().await {
            Ok(head) => Ok(head.metadata().and_then(|metadata| metadata.get(SHA256)).cloned()),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found()) => Ok(None),
            Err(error) => Err(error).or_aws(&format!("HeadObject s3://{}/{key}", self.bucket)),
        }
    }

    /// Puts a record under its digest, and moves the version's pointer to it.
    ///
    /// # Errors
    /// AWS (4).
    pub async fn publish<F: Facts>(&self, record: &Record<F>) -> Result<()> {
        let text = record.text()?;
        let key = self.key(&format!("records/{}.json", record.digest));
        self.put_record(&key, &text).await?;
        if F::STEP.in_environment() {
            return Ok(());
        }
        let key = self.key(&format!("versions/{}.json", record.so.version.name));
        let pointer = Pointer { step: F::STEP, record: record.digest.clone() };
        self.swap(&key, |_: Option<Pointer>| Ok(pointer.clone())).await
    }

    /// Puts what is the same whoever writes it, since its digest is its name.
    async fn put_record(&self, key: &str, text: &str) -> Result<()> {
        for _ in 0..5 {
            let put = self.aws.s3.put_object().bucket(&self.bucket).key(key).if_none_match("*");
            match put.content_type("application/json").body(text.as_bytes().to_vec().into()).send().await {
                Ok(_) => return Ok(()),
                Err(error) if code(&error) == Some("PreconditionFailed") => return Ok(()),
                // 409: another writer is at the same key right now; S3 asks to try again.
                Err(error) if code(&error) == Some("ConditionalRequestConflict") => {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Err(error) => return Err(error).or_aws(&format!("PutObject s3://{}/{key}", self.bucket)),
            }
        }
        Err(self.written_by_others(key))
    }

    fn written_by_others(&self, key: &str) -> Failure {
        Failure::aws(format!("s3://{}/{key} is being written by somebody else, again and again", self.bucket))
    }

    /// Reads a JSON object; `None` where there is none.
    ///
    /// # Errors
    /// AWS (4); refused (3) where it can't be read as what it should be.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Tagged<T>>> {
        let answered = Answered::default();
        let get = self.aws.s3.get_object().bucket(&self.bucket).key(key);
        let got = match get.customize().interceptor(answered.clone()).send().await {
            Ok(got) => got,
            Err(error) if code(&error) == Some("NoSuchKey") => return Ok(None),
            Err(error) if code(&error) == Some("NoSuchBucket") => return Err(self.no_bucket()),
            Err(error) => return Err(error).or_aws(&format!("GetObject s3://{}/{key}", self.bucket)),
        };
        let (etag, age) = (got.e_tag().unwrap_or_default().to_owned(), answered.age(got.last_modified()));
        let place = || format!("s3://{}/{key}", self.bucket);
        let body = got.body.collect().await.or_fail(|| Failure::aws(format!("{} broke off", place())))?;
        let value = serde_json::from_slice(&body.into_bytes())
            .or_fail(|| Failure::refused(format!("{} is not what gyron writes there", place())))?;
        Ok(Some(Tagged { value, etag, age }))
    }

    /// Changes a JSON object by compare-and-swap: `change` sees what is there and says what shall be.
    ///
    /// # Errors
    /// AWS (4); what `change` says; refused (3) where others change it again and again.
    pub async fn swap<T: DeserializeOwned + Serialize>(
        &self,
        key: &str,
        mut change: impl FnMut(Option<T>) -> Result<T>,
    ) -> Result<()> {
        self.swap_tagged(key, |there| change(there.map(|there| there.value))).await
    }

    /// The same, where it also counts how long ago that was written which is there.
    ///
    /// # Errors
    /// As [`Registry::swap`].
    pub async fn swap_tagged<T: DeserializeOwned + Serialize>(
        &self,
        key: &str,
        mut change: impl FnMut(Option<Tagged<T>>) -> Result<T>,
    ) -> Result<()> {
        for _ in 0..10 {
            let there = self.get::<T>(key).await?;
            let etag = there.as_ref().map(|there| there.etag.clone());
            let text = serde_json::to_vec_pretty(&change(there)?)
                .or_fail(|| Failure::defect("a value can't be written as JSON"))?;
            let put = self.aws.s3.put_object().bucket(&self.bucket).key(key).content_type("application/json");
            let put = match etag {
                Some(etag) => put.if_match(etag),
                None => put.if_none_match("*"),
            };
            match put.body(text.into()).send().await {
                Ok(_) => return Ok(()),
                Err(error)
                    if matches!(
                        code(&error),
                        Some("PreconditionFailed" | "ConditionalRequestConflict" | "NoSuchKey")
                    ) =>
                {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => return Err(error).or_aws(&format!("PutObject s3://{}/{key}", self.bucket)),
            }
        }
        Err(Failure::refused(format!("s3://{}/{key} is being changed by somebody else, again and again", self.bucket)))
    }

    /// Puts a temporary or replaceable file.
    ///
    /// # Errors
    /// AWS (4).
    pub async fn put_file(&self, key: &str, file: &Path) -> Result<()> {
        let body =
            ByteStream::from_path(file).await.or_fail(|| Failure::defect(format!("can't read {}", file.display())))?;
        let put = self.aws.s3.put_object().bucket(&self.bucket).key(key).body(body).send().await;
        match put {
            Err(error) if code(&error) == Some("NoSuchBucket") => Err(self.no_bucket()),
            other => other.map(|_| ()).or_aws(&format!("PutObject s3://{}/{key}", self.bucket)),
        }
    }

    /// Puts a temporary or replaceable JSON object.
    ///
    /// # Errors
    /// AWS (4).
    pub async fn put_json(&self, key: &str, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_vec(value).or_fail(|| Failure::defect("a value can't be written as JSON"))?;
        let put = self.aws.s3.put_object().bucket(&self.bucket).key(key).content_type("application/json");
        let put = put.body(text.into()).send().await;
        put.map(|_| ()).or_aws(&format!("PutObject s3://{}/{key}", self.bucket))
    }

    /// Reads an object's bytes; `None` where there is none.
    ///
    /// # Errors
    /// AWS (4).
    pub async fn bytes(&self, key: &str) -> Result<Option<Vec<u8>>> {
        match self.aws.s3.get_object().bucket(&self.bucket).key(key).send().await {
            Ok(got) => {
                let body = got.body.collect().await;
                let body = body.or_fail(|| Failure::aws(format!("s3://{}/{key} broke off", self.bucket)))?;
                Ok(Some(body.into_bytes().to_vec()))
            }
            Err(error) if code(&error) == Some("NoSuchKey") => Ok(None),
            Err(error) => Err(error).or_aws(&format!("GetObject s3://{}/{key}", self.bucket)),
        }
    }

    /// The names of the folders right below a prefix, which ends with a slash.
    ///
    /// # Errors
    /// AWS (4).
    pub async fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        let list = self.aws.s3.list_objects_v2().bucket(&self.bucket).prefix(prefix).delimiter("/");
        let mut pages = list.into_paginator().send();
        let mut folders = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.or_aws(&format!("ListObjectsV2 s3://{}/{prefix}", self.bucket))?;
            let found = page.common_prefixes().iter().filter_map(|common| common.prefix()?.strip_prefix(prefix));
            folders.extend(found.map(|folder| folder.trim_end_matches('/').to_owned()));
        }
        Ok(folders)
    }

    /// Removes an object; that it isn't there is no error.
    ///
    /// # Errors
    /// AWS (4).
    pub async fn remove(&self, key: &str) -> Result<()> {
        let removed = self.aws.s3.delete_object().bucket(&self.bucket).key(key).send().await;
        removed.map(|_| ()).or_aws(&format!("DeleteObject s3://{}/{key}", self.bucket))
    }

    /// All keys that begin so. Lists: for what can't be addressed.
    ///
    /// # Errors
    /// AWS (4); usage (2) where the bucket isn't there.
    pub async fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        let mut pages = self.aws.s3.list_objects_v2().bucket(&self.bucket).prefix(prefix).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = match page {
                Err(error) if code(&error) == Some("NoSuchBucket") => return Err(self.no_bucket()),
                page => page.or_aws(&format!("ListObjectsV2 s3://{}/{prefix}", self.bucket))?,
            };
            keys.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
        }
        Ok(keys)
    }

    /// Removes a JSON object, if it is still what `is_it` knows; any other stays.
    ///
    /// # Errors
    /// AWS (4); refused (3) where it can't be read as what it should be.
    pub async fn remove_where<T: DeserializeOwned>(&self, key: &str, is_it: impl Fn(&T) -> bool) -> Result<()> {
        let Some(there) = self.get::<T>(key).await?.filter(|there| is_it(&there.value)) else { return Ok(()) };
        let removed = self.aws.s3.delete_object().bucket(&self.bucket).key(key).if_match(there.etag).send().await;
        match removed {
            Err(error)
                if matches!(code(&error), Some("PreconditionFailed" | "ConditionalRequestConflict" | "NoSuchKey")) =>
            {
                Ok(())
            }
            other => other.map(|_| ()).or_aws(&format!("DeleteObject s3://{}/{key}", self.bucket)),
        }
    }

    /// Removes every object whose key begins so; that there is none is no error.
    ///
    /// # Errors
    /// AWS (4).
    pub async fn remove_all(&self, prefix: &str) -> Result<()> {
        let keys = self.keys(prefix).await?;
        // DeleteObjects takes a thousand at a time.
        for some in keys.chunks(1000) {
            let some = some.iter().map(|key| ObjectIdentifier::builder().key(key).build()).collect::<Result<_, _>>();
            let some: Vec<ObjectIdentifier> = some.or_fail(|| Failure::defect("a key can't be named"))?;
            let all = Delete::builder().set_objects(Some(some)).quiet(true).build();
            let all = all.or_fail(|| Failure::defect("keys can't be named"))?;
            let removed = self.aws.s3.delete_objects().bucket(&self.bucket).delete(all).send().await;
            let removed = removed.or_aws(&format!("DeleteObjects s3://{}/{prefix}", self.bucket))?;
            // The answer as a whole is a success even where single objects stay.
            if let Some(stays) = removed.errors().first() {
                let (key, why) = (stays.key().unwrap_or_default(), stays.message().unwrap_or("AWS gave no reason"));
                return Err(Failure::aws(format!("s3://{}/{key} can't be removed: {why}", self.bucket)));
            }
        }
        Ok(())
    }

    /// A URL that lets whoever has it read the object, for as long as `valid`.
    ///
    /// # Errors
    /// AWS (4) where it can't be signed.
    pub async fn read_url(&self, key: &str, valid: Duration) -> Result<String> {
        let config = presigning(valid)?;
        let signed = self.aws.s3.get_object().bucket(&self.bucket).key(key).presigned(config).await;
        signed.map(|request| request.uri().to_owned()).or_aws("presigning GetObject")
    }

    /// A URL that lets whoever has it write the object, for as long as `valid`.
    ///
    /// # Errors
    /// AWS (4) where it can't be signed.
    pub async fn write_url(&self, key: &str, valid: Duration) -> Result<String> {
        let config = presigning(valid)?;
        let signed = self.aws.s3.put_object().bucket(&self.bucket).key(key).presigned(config).await;
        signed.map(|request| request.uri().to_owned()).or_aws("presigning PutObject")
    }

    fn no_bucket(&self) -> Failure {
        Failure::usage(format!("there is no bucket {} in {}", self.bucket, self.aws.region)).hint(format!(
            "aws s3 mb s3://{} --region {}, or mend `bucket` in gyron.toml",
            self.bucket, self.aws.region
        ))
    }
}

/// Where the newest chain of a version ends.
#[derive(Clone, Debug, Serialize, serde::Deserialize)]
struct Pointer {
    step: Step,
    record: Digest,
}

pub(crate) fn presigning(valid: Duration) -> Result<PresigningConfig> {
    PresigningConfig::expires_in(valid).or_fail(|| Failure::defect("a presigned URL can't live that long"))
}

fn base64_of(digest: &Digest) -> Result<String> {
    use base64::Engine as _;
    let bytes = hex::decode(digest.as_str()).or_fail(|| Failure::defect("a digest is no hexadecimal number"))?;
    Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
}
