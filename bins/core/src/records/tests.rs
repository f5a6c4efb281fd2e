#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::{Bake, Facts, Happened, Package, Record, Records, Release, So, Spec};
use crate::exit::Exit;
use crate::ids::{Digest, ImageId};
use crate::version::Version;

fn happened() -> Happened {
    Happened {
        at: "2026-01-31T09:30:00Z".to_owned(),
        milliseconds: 1200,
        run: "r1".to_owned(),
        host: "laptop".to_owned(),
        gyron: "0.1.0".to_owned(),
    }
}

fn seal<F: Facts>(version: &str, after: Option<&Digest>, facts: F) -> Record<F> {
    let version = Version { name: version.to_owned(), commit: None, dirty: false };
    let so = So { app: "shop".to_owned(), version, env: None, after: after.cloned(), facts };
    Record::seal(so, happened()).unwrap()
}

fn package(version: &str) -> Record<Package> {
    let release = Release {
        key: format!("shop/releases/{version}/shop.tar.zst"),
        file: "shop.tar.zst".to_owned(),
        sha256: Digest::of(b"release"),
        size: 7,
        archive: true,
    };
    seal(version, None, Package { release })
}

fn bake(below: &Record<Package>) -> Record<Bake> {
    let facts = Bake {
        image: ImageId::new("ami-1"),
        region: "us-east-1".to_owned(),
        base: ImageId::new("ami-0"),
        layers: vec![crate::records::Layer {
            name: "image".to_owned(),
            image: ImageId::new("ami-1"),
            fingerprint: Digest::of(b"playbook"),
        }],
        copies: std::collections::BTreeMap::new(),
    };
    seal(&below.so.version.name, Some(&below.digest), facts)
}

fn records(root: &Path) -> Records {
    Records::new(root, "shop", Some("production"))
}

#[test]
fn a_chain_is_read_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let records = records(folder.path());
    let package = package("1.0");
    let bake = bake(&package);
    records.write(&package).unwrap();
    records.write(&bake).unwrap();
    assert_eq!(records.read::<Bake>().unwrap(), bake);
}

#[test]
fn the_digest_covers_what_is_so_and_not_what_happened() {
    let one = package("1.0");
    let mut again = happened();
    again.run = "r2".to_owned();
    assert_eq!(Record::seal(one.so.clone(), again).unwrap().digest, one.digest);
    assert_ne!(package("1.1").digest, one.digest);
}

#[test]
fn a_missing_record_says_which_and_what_makes_it() {
    let folder = tempfile::tempdir().unwrap();
    let failure = records(folder.path()).read::<Spec>().unwrap_err();
    assert_eq!(failure.exit(), Exit::Refused);
    insta::assert_snapshot!(failure.report(), @"
    error: .gyron/spec.json is missing: no spec has been recorded here
    hint: gyron-spec makes it
    ");
}

#[test]
fn a_record_that_was_edited_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let records = records(folder.path());
    records.write(&package("1.0")).unwrap();
    let path = folder.path().join(".gyron/package.json");
    let edited = std::fs::read_to_string(&path).unwrap().replace("\"size\": 7", "\"size\": 8");
    std::fs::write(&path, edited).unwrap();
    insta::assert_snapshot!(records.read::<Package>().unwrap_err().report(), @"
    error: .gyron/package.json is not to be believed: its content has the digest edbeeceda90f, it says 60affe40c179
    hint: gyron-package makes it
    ");
}

#[test]
fn a_record_cut_in_half_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let records = records(folder.path());
    records.write(&package("1.0")).unwrap();
    let path = folder.path().join(".gyron/package.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() / 2]).unwrap();
    let failure = records.read::<Package>().unwrap_err();
    assert_eq!(failure.exit(), Exit::Refused);
    assert_eq!(failure.message(), ".gyron/package.json is not to be believed: it is no record");
}

#[test]
fn a_record_of_another_chain_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let records = records(folder.path());
    let old = package("1.0");
    records.write(&bake(&old)).unwrap();
    records.write(&package("1.1")).unwrap();
    let failure = records.read::<Bake>().unwrap_err();
    assert_eq!(failure.exit(), Exit::Refused);
    insta::assert_snapshot!(failure.report(), @"
    error: .gyron/bake.json is of another chain than .gyron/package.json
      .gyron/bake.json (version 1.0) stands on the record 60affe40c179
      .gyron/package.json (version 1.1) is the record c3598f824d3e
    hint: gyron-bake makes it
    ");
}

#[test]
fn a_record_of_another_app_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    records(folder.path()).write(&package("1.0")).unwrap();
    let failure = Records::new(folder.path(), "blog", None).read::<Package>().unwrap_err();
    insta::assert_snapshot!(failure.report(), @"
    error: .gyron/package.json is not to be believed: it is of the app shop, gyron.toml is blog's
    hint: gyron-package makes it
    ");
}
