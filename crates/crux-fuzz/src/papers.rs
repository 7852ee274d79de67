//! Certificates, keys, bundles and what stands beside them.

use crate::drive::Target;
use crate::{bloc, slow, target, texts};
use crux_pki::fuzz::{self, Papers};
use std::sync::LazyLock;

/// The targets of this file.
pub const TARGETS: &[Target] = &[
    slow(target("certificate", certificate, certificates)),
    target("admission", admission, admissions),
    slow(target("private_key", private_key, keys)),
    slow(target("certificates_pem", certificates_pem, pems)),
    target("archive", archive, archives),
    slow(target("bundle", bundle, archives)),
    target("identity_uri", identity_uri, uris),
    slow(target("chain", chain, pems)),
    target("ca_record", ca_record, records),
    slow(target("age", age, ages)),
    slow(target("signed_fact", signed_fact, signed_facts)),
];

/// One CA and what it issued, for the whole run.
static PAPERS: LazyLock<Papers> = LazyLock::new(|| Papers::new(bloc()));

fn certificates() -> Vec<Vec<u8>> {
    PAPERS.certificates()
}

/// A leaf, a root, and what is shown of either.
pub fn certificate(data: &[u8]) {
    fuzz::certificate(&PAPERS, data);
}

fn admissions() -> Vec<Vec<u8>> {
    PAPERS.admissions()
}

/// The extension with admission number and labels.
pub fn admission(data: &[u8]) {
    fuzz::admission(data);
}

fn keys() -> Vec<Vec<u8>> {
    PAPERS.keys()
}

/// A private key in PEM.
pub fn private_key(data: &[u8]) {
    fuzz::private_key(data);
}

fn pems() -> Vec<Vec<u8>> {
    PAPERS.pems()
}

/// Certificates in PEM, or one in DER.
pub fn certificates_pem(data: &[u8]) {
    fuzz::certificates_pem(data);
}

fn archives() -> Vec<Vec<u8>> {
    PAPERS.archives()
}

/// A tar archive.
pub fn archive(data: &[u8]) {
    fuzz::archive(data);
}

/// An archive as a bundle: its parts belong together.
pub fn bundle(data: &[u8]) {
    fuzz::bundle(data);
}

fn uris() -> Vec<Vec<u8>> {
    texts(&[
        "spiffe://acme.prod/node/n1.rack3.site-a",
        "spiffe://acme/operator/ann",
        "spiffe://acme/beacon/watch",
        "spiffe://acme/horde/web/api",
        "spiffe://acme/horde/ADMIN/steward",
    ])
}

/// An identity is written as it was read.
pub fn identity_uri(data: &[u8]) {
    fuzz::identity_uri(data);
}

/// A chain before the trust set, dated and undated.
pub fn chain(data: &[u8]) {
    fuzz::chain(&PAPERS, data);
}

fn records() -> Vec<Vec<u8>> {
    texts(&["spiffe://acme/node/n1\t1\t1793491200\nspiffe://acme/operator/ann\t2\t1793491200\n", "x\n", "a\tb"])
}

/// The record of what a CA issued.
pub fn ca_record(data: &[u8]) {
    fuzz::ca_record(data);
}

fn signed_facts() -> Vec<Vec<u8>> {
    PAPERS.signed_facts()
}

/// A signed version: nothing but what was signed is believed.
pub fn signed_fact(data: &[u8]) {
    fuzz::signed_fact(&PAPERS, data);
}

fn ages() -> Vec<Vec<u8>> {
    fuzz::ages()
}

/// A file that was encrypted with age: nothing comes out of it but what was put in.
pub fn age(data: &[u8]) {
    fuzz::age(data);
}
