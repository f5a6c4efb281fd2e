//! What nobody may see: passwords of Ansible Vault and a play's secrets, fetched by the builder alone.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use gyron_tests::App;
use gyron_tests::cloud::Cloud;

use crate::bake::inside;

/// In each line of each value: where it stands, a value has leaked.
const MARK: &str = "horse-4711";

/// With all that a shell, JSON, YAML and a template might take for something else.
const PASSWORD: &str = "horse-4711 {{ 7 * 7 }} \"a\" 'b' \\c %s $HOME ü😀\n\tand horse-4711 again: #no comment";
const TOKEN: &str = "token-of-horse-4711-with-some-length";

/// `from_vaulted_file: seen by the vault`, by the password `horse-4711-vault`.
const VAULTED: &str = "$ANSIBLE_VAULT;1.1;AES256
36633063386266316466353966616662653638393561333865623138363363323331383535356632
6366313465646535313966323637363465636562353130360a386231666536326164326161626233
35363032633232316564326139346535366563303364613038613437336338613635306430386461
6131663936633734350a356164313034336265333434616130383436366665663231656131656637
33323932356534343431306437396230663535613839653763306632626631326539316136366131
3537323766333339616562666164323535643134316234646237
";
/// `seen by prod`, by the password `horse-4711-prod` under the id prod.
const INLINE: &str = "      $ANSIBLE_VAULT;1.2;AES256;prod
      61363431636435663566323232343436313065636137343739646430633834306532353039383765
      6634613231393731643164323230643135373038613538320a656362393630386462363831313136
      32323063356366393464363464656638363762666364393735313935636439633338356164366335
      6636363364303963310a623565633639316534653739633734656163626132393561633332623564
      3336";

/// Names in Systems Manager and Secrets Manager, gone at the end.
struct Names<'a>(&'a Cloud);

impl<'a> Names<'a> {
    fn new(cloud: &'a Cloud) -> Self {
        let parameter = ["ssm", "put-parameter", "--type", "SecureString"];
        for (name, value) in [("/secret/db", PASSWORD), ("/secret/vault", "horse-4711-vault"), ("/secret/short", "abc")]
        {
            let _ = cloud.aws(&[&parameter[..], &["--name", name, "--value", value]].concat());
        }
        let json = serde_json::json!({ "token": TOKEN, "user": "shop" }).to_string();
        for (name, value) in [("secret/api", json.as_str()), ("secret/prod", "horse-4711-prod")] {
            let _ = cloud.aws(&["secretsmanager", "create-secret", "--name", name, "--secret-string", value]);
        }
        Names(cloud)
    }
}

impl Drop for Names<'_> {
    fn drop(&mut self) {
        let _ = self.0.aws(&["ssm", "delete-parameters", "--names", "/secret/db", "/secret/vault", "/secret/short"]);
        for name in ["secret/api", "secret/prod"] {
            let gone = ["secretsmanager", "delete-secret", "--force-delete-without-recovery", "--secret-id", name];
            let _ = self.0.aws(&gone);
        }
    }
}

fn sha256(value: &str) -> String {
    let program = "import hashlib, sys; print(hashlib.sha256(sys.argv[1].encode()).hexdigest())";
    let said = Command::new("python3").args(["-c", program, value]).output().unwrap();
    String::from_utf8_lossy(&said.stdout).trim().to_owned()
}

/// Bakes, and meanwhile keeps a copy of every object that the bucket ever holds.
fn bake_watched(cloud: &Cloud, app: &App, copies: &Path) -> Output {
    let mut child = cloud
        .command(app, "gyron-bake", &[])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let copies = copies.display().to_string();
    while child.try_wait().unwrap().is_none() {
        let sync = ["exec", "--", "aws", "s3", "sync", "--quiet", "s3://secrets-releases", &copies];
        // An object may go while it is copied.
        let _ = cloud.rehearse(&sync).output();
    }
    child.wait_with_output().unwrap()
}

/// The files below a folder in which the mark stands.
fn marked(folder: &Path) -> String {
    // What is packed is looked into, too.
    let script = r#"cd "$1"; grep -rlaF "$2" .; find . -name '*.tar.gz' | while read -r file; do tar -xzOf "$file" | grep -caF "$2" | grep -v '^0$' && echo "$file"; done; true"#;
    let found = Command::new("sh").args(["-c", script, "sh"]).arg(folder).arg(MARK).output().unwrap();
    String::from_utf8_lossy(&found.stdout).into_owned()
}

fn app(name: &str) -> App {
    let app = App::small_named(name);
    app.replace(
        "gyron.toml",
        "playbook         =",
        "vault-password   = { ssm = \"/secret/vault\" }\nvault            = { prod = { secret = \"secret/prod\" } }\n\
         secrets          = { db_password = { ssm = \"/secret/db\" }, api_token = { secret = \"secret/api\", key = \"token\" } }\n\
         playbook         =",
    );
    app.write("ansible/vaulted.yml", VAULTED);
    // As it is of use on its author's machine.
    app.write("ansible/ansible.cfg", "[defaults]\nvault_password_file = ~/.password\nlog_path = /srv/ansible.log\n");
    let (password, token) = (sha256(PASSWORD), sha256(TOKEN));
    app.replace(
        "ansible/site.yml",
        "  tasks:\n",
        &format!(
            r#"  vars_files: [vaulted.yml]
  vars:
    from_prod: !vault |
{INLINE}
  tasks:
    - name: See what came
      ansible.builtin.assert:
        that:
          - from_vaulted_file == "seen by the vault"
          - from_prod == "seen by prod"
          - db_password | hash("sha256") == "{password}"
          - api_token | hash("sha256") == "{token}"
    - name: Print it
      ansible.builtin.debug: {{var: db_password}}
    - name: Print it in a long line
      ansible.builtin.debug: {{msg: "{{{{ 'x' * 16350 }}}}{{{{ api_token }}}}"}}
    - name: Have a shell print it
      ansible.builtin.command: {{argv: [printf, "%s", "{{{{ db_password }}}}{{{{ api_token }}}}"], expand_argument_vars: false}}
      register: printed
    - name: Print what the shell printed
      ansible.builtin.debug: {{var: printed}}
"#
        ),
    );
    app
}

#[test]
fn a_secret_reaches_the_play_and_nothing_else() {
    let cloud = Cloud::of_tests();
    let _names = Names::new(&cloud);
    let app = app("secrets");
    app.commit();
    cloud.prepare(&app);
    cloud.succeed(&app, "gyron-package", &[]);
    let copies = tempfile::tempdir().unwrap();
    let output = bake_watched(&cloud, &app, copies.path());
    let shown = app.show(&output);
    assert!(output.status.success(), "{shown}");
    let image = String::from_utf8_lossy(&output.stdout).trim().to_owned();

    let log = app.read(".gyron/logs/ansible.log");
    assert!(log.contains("\"db_password\": \"***\"") && log.contains("Have a shell print it"), "{log}");
    assert!(!shown.contains(MARK), "{shown}");
    assert_eq!(marked(&app.path().join(".gyron")), "");
    assert!(copies.path().join("secrets/runs").is_dir(), "the job and the log have been seen on their way");
    assert_eq!(marked(copies.path()), "");
    for list in ["list-commands", "list-command-invocations"] {
        let known = cloud.ask(&["exec", "--", "aws", "ssm", list, "--output", "json"]);
        assert!(known.contains("CommandId") && !known.contains(MARK), "{list}");
    }
    assert!(!cloud.ask(&["calls"]).contains(MARK));
    let script = format!("cd \"$1\" && grep -rlaF '{MARK}' . ; ls -d run/gyron* var/lib/gyron* 2>/dev/null");
    assert_eq!(inside(&image, &script), "");

    // Names count for what an image is; values don't.
    let plan = cloud.succeed(&app, "gyron-bake", &["--plan", "--set", "bake.vault-password.ssm=/secret/other"]);
    let named: Vec<&str> = plan
        .lines()
        .filter(|line| line.contains(" secret ") || line.contains(" vault ") || line.contains("bring"))
        .collect();
    insta::assert_snapshot!(gyron_tests::plain(&named.join("\n")), @"
    would make it of secret api_token = secret secret/api, key token
    would make it of secret db_password = ssm /secret/db
    would make it of vault password default = ssm /secret/other
    would make it of vault password prod = secret secret/prod
    would bring in, since ami-ID of VERSION: ~ vault password default
    ");
}

#[test]
fn a_secret_that_cannot_be_had_is_named_and_a_failed_play_does_not_tell_it() {
    let cloud = Cloud::of_tests();
    let app = App::small_named("untold");
    app.replace(
        "gyron.toml",
        "playbook         =",
        "secrets          = { db_password = { ssm = \"/untold/db\" } }\nplaybook         =",
    );
    app.replace(
        "ansible/site.yml",
        "  tasks:\n",
        "  tasks:\n    - name: Connect\n      ansible.builtin.fail: {msg: \"no way in with {{ db_password }}\"}\n",
    );
    app.commit();
    cloud.prepare(&app);
    cloud.succeed(&app, "gyron-package", &[]);
    let error = || {
        let shown = app.show(&cloud.run(&app, "gyron-bake", &[]));
        assert!(!shown.contains(MARK), "{shown}");
        let code = shown.lines().next().unwrap_or_default().to_owned();
        let rest = shown.lines().skip_while(|line| !line.starts_with("error:"));
        [code].into_iter().chain(rest.map(str::to_owned)).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(error(), @"
    exit 4
    error: the builder can't read the SSM parameter /untold/db: ParameterNotFound: Parameter /untold/db not found
      already: no instance and no image of this bake are left
    hint: it must be in this account and region, and the builder's instance profile needs ssm:GetParameter for it, and kms:Decrypt for a key of your own
    ");
    let put = ["ssm", "put-parameter", "--type", "SecureString", "--name", "/untold/db", "--value", PASSWORD];
    let _ = cloud.aws(&put);
    insta::assert_snapshot!(error(), @"
    exit 5
    error: the play failed at the task `Connect`
      --> site.yml:5
      | no way in with ***
      already: no instance and no image of this bake are left
    hint: the whole log is in .gyron/logs/ansible.log
    hint: to look inside the builder: gyron-bake --keep-on-failure, of the same commit
    ");
    let _ = cloud.aws(&["ssm", "delete-parameter", "--name", "/untold/db"]);
}

/// Signs the same request with botocore, the AWS CLI's own.
const SIGN: &str = r#"
import datetime, sys
sys.path.insert(0, sys.argv[1])
import aws
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
for service, endpoint in (("ssm", "https://ssm.ap-northeast-1.amazonaws.com"), ("secretsmanager", "http://198.18.0.1:4566")):
    body, target = '{"Name": "/shop/d\u00fc"}'.encode(), "AmazonSSM.GetParameter"
    request = AWSRequest("POST", endpoint + "/", {"content-type": aws.JSON, "x-amz-target": target}, body)
    SigV4Auth(Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", "a+token/=="), service, "ap-northeast-1").add_auth(request)
    at = datetime.datetime.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
    who = {"AccessKeyId": "AKIDEXAMPLE", "SecretAccessKey": "wJalrXUtnFEMI/K7MDENG", "Token": "a+token/=="}
    ours = aws.signed(service, endpoint, "ap-northeast-1", target, body, who, at)["authorization"]
    assert ours == request.headers["Authorization"], (ours, request.headers["Authorization"])
"#;

/// What is hidden of a database's secret as Secrets Manager makes it, and what is not.
const HIDE: &str = r#"
import json, sys
sys.path.insert(0, sys.argv[1])
import sealed
secret = {"username": "shopkeeper", "password": "hunter2!", "host": "db.internal", "more": {"api_token": ["t0ken-1"]}}
line = b"login shopkeeper@db.internal with hunter2! or t0ken-1: refused\n"
print(sealed.Hiding([json.dumps(secret)])(line).decode(), end="")
"#;

#[test]
fn a_secret_of_json_hides_the_passwords_in_it() {
    let builder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bins/bake/src/builder");
    let python = gyron_tests::cloud::cache().join("venv/bin/python");
    let hidden = Command::new(python).args(["-B", "-c", HIDE]).arg(builder).output().unwrap();
    let said = String::from_utf8_lossy(&hidden.stdout);
    assert_eq!(
        said,
        "login shopkeeper@db.internal with *** or ***: refused\n",
        "{}",
        String::from_utf8_lossy(&hidden.stderr)
    );
}

#[test]
fn the_builder_signs_as_the_aws_cli_does() {
    let builder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bins/bake/src/builder");
    let python = gyron_tests::cloud::cache().join("venv/bin/python");
    let signed = Command::new(python).args(["-B", "-c", SIGN]).arg(builder).output().unwrap();
    assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
}
