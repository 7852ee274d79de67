//! Certificates that no crux made: those of an existing PKI that obey the rules work, those that do not are refused for
//! their reason. Made by openssl; without it on the machine these tests say so and pass.

use crux_names::BlocName;
use crux_pki::{Bundle, LiveBundle, Signer, Trust, live_client_config, live_server_config, unix_now, verify_signature};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn has_openssl() -> bool {
    let there = Command::new("openssl").arg("version").output().is_ok_and(|out| out.status.success());
    if !there {
        eprintln!("skipped: there is no openssl command on this machine");
    }
    there
}

/// An existing PKI: a root, an intermediate, and whatever it is asked for.
struct Pki {
    dir: tempfile::TempDir,
}

const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const ED25519: &[&str] = &["-algorithm", "ED25519"];
const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
const P384: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
const LEAF: &str = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
                    extendedKeyUsage=serverAuth,clientAuth\n";

impl Pki {
    fn new(algorithm: &[&str]) -> Self {
        let pki = Self { dir: tempfile::tempdir().unwrap() };
        pki.key("root", algorithm);
        pki.run(&[
            "req",
            "-x509",
            "-new",
            "-key",
            "root.key",
            "-subj",
            "/O=Old PKI/CN=Root",
            "-days",
            "3650",
            "-out",
            "root.pem",
        ]);
        pki.key("middle", algorithm);
        let ca = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n";
        pki.certificate("middle", "root", 1825, ca);
        pki
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &[&str]) {
        let out = Command::new("openssl").args(args).current_dir(self.dir.path()).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    }

    fn key(&self, name: &str, algorithm: &[&str]) {
        self.run(&[&["genpkey"], algorithm, &["-out", &format!("{name}.key")]].concat());
    }

    fn certificate(&self, name: &str, issuer: &str, days: u32, extensions: &str) {
        fs::write(self.path("ext"), extensions).unwrap();
        let (key, out) = (format!("{name}.key"), format!("{name}.pem"));
        self.run(&["req", "-new", "-key", &key, "-subj", &format!("/O=Old PKI/CN={name}"), "-out", "csr"]);
        let (ca, ca_key, days) = (format!("{issuer}.pem"), format!("{issuer}.key"), days.to_string());
        self.run(&[
            "x509",
            "-req",
            "-in",
            "csr",
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-days",
            &days,
            "-extfile",
            "ext",
            "-out",
            &out,
        ]);
    }

    /// A bundle's directory out of a key, a leaf with its intermediate, and the root.
    fn bundle(&self, name: &str) -> PathBuf {
        let dir = self.path(&format!("{name}-bundle"));
        fs::create_dir_all(&dir).unwrap();
        let read = |name: &str| fs::read_to_string(self.path(name)).unwrap();
        fs::write(dir.join("cert.pem"), read(&format!("{name}.pem")) + &read("middle.pem")).unwrap();
        fs::write(dir.join("trust.pem"), read("root.pem")).unwrap();
        fs::write(dir.join("key.pem"), read(&format!("{name}.key"))).unwrap();
        fs::set_permissions(dir.join("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
        dir
    }

    fn issue(&self, name: &str, algorithm: &[&str], days: u32, extensions: &str) -> PathBuf {
        self.key(name, algorithm);
        self.certificate(name, "middle", days, extensions);
        self.bundle(name)
    }
}

fn uri(uri: &str) -> String {
    format!("{LEAF}subjectAltName=URI:{uri}\n")
}

#[test]
fn an_existing_pki_works_with_either_kind_of_keys() {
    if !has_openssl() {
        return;
    }
    for root in [P256, ED25519, RSA] {
        let pki = Pki::new(root);
        for (n, algorithm) in [P256, ED25519].into_iter().enumerate() {
            let dir = pki.issue(&format!("n{n}"), algorithm, 300, &uri(&format!("spiffe://acme/node/n{n}")));
            let bundle = Bundle::load(&dir).unwrap();
            bundle.check(unix_now()).unwrap();
            assert_eq!((bundle.admission(), bundle.labels().len(), bundle.chain().len()), (1, 0, 2));
            assert!(crux_pki::inspect(&dir, unix_now()).unwrap().is_good());
            // It can do all that ours can: sign, derive secrets, be an archive, speak TLS.
            let signature = bundle.signer().sign("fact", b"x");
            let peer = bundle.trust().verify_chain(bundle.chain(), unix_now()).unwrap();
            assert!(verify_signature(peer.public_key(), "fact", b"x", &signature));
            let copy = Bundle::from_tar(&bundle.to_tar().unwrap(), Path::new("b.tar")).unwrap();
            assert_eq!((copy.derive("reset"), copy.chain()), (bundle.derive("reset"), bundle.chain()));
            let live = LiveBundle::new(copy).unwrap();
            let roles = [crux_pki::RoleKind::Node];
            let _ = (live_client_config(&live, &roles, &[b"x"]), live_server_config(&live, &roles, &[b"x"]));
        }
        let mixed = Bundle::load(&pki.path("n0-bundle")).unwrap();
        let other = Bundle::load(&pki.path("n1-bundle")).unwrap();
        mixed.trust().verify_chain(other.chain(), unix_now()).unwrap();
    }
}

#[test]
fn our_extension_may_be_written_by_others() {
    if !has_openssl() {
        return;
    }
    let pki = Pki::new(P256);
    let ours = "2.25.1906752461.1=ASN1:SEQUENCE:all\n[all]\na=SEQUENCE:admission\nl=SEQUENCE:label\n\
                [admission]\n1=UTF8:admission\n2=UTF8:3\n[label]\n1=UTF8:label\n2=UTF8:zone\n3=UTF8:b\n";
    let dir = pki.issue("n1", P256, 300, &(uri("spiffe://acme/node/n1.rack3.site-a") + ours));
    let bundle = Bundle::load(&dir).unwrap();
    bundle.check(unix_now()).unwrap();
    assert_eq!((bundle.admission(), bundle.labels()["zone"].as_str()), (3, "b"));
    assert_eq!(bundle.identity().role.name(), "n1.rack3.site-a");
}

#[test]
fn traditional_key_files_are_read() {
    if !has_openssl() {
        return;
    }
    let pki = Pki::new(P256);
    let dir = pki.issue("n1", P256, 300, &uri("spiffe://acme/node/n1"));
    let before = Bundle::load(&dir).unwrap();
    pki.run(&["ec", "-in", "n1.key", "-out", "n1-bundle/key.pem"]);
    assert!(fs::read_to_string(dir.join("key.pem")).unwrap().contains("EC PRIVATE KEY"));
    assert_eq!(Bundle::load(&dir).unwrap().derive("x"), before.derive("x"));
    pki.run(&["pkcs8", "-topk8", "-in", "n1.key", "-out", "n1-bundle/key.pem", "-passout", "pass:secret"]);
    let error = Bundle::load(&dir).unwrap_err().to_string();
    assert!(error.contains("key.pem: it is encrypted; store the key without a passphrase"), "{error}");
}

#[test]
fn foreign_certificates_are_held_to_the_same_rules() {
    if !has_openssl() {
        return;
    }
    let pki = Pki::new(P256);
    let node = "subjectAltName=URI:spiffe://acme/node/n1\n";
    let cases: [(&str, &[&str], u32, String); 12] = [
        ("key-algorithm", RSA, 300, uri("spiffe://acme/node/n1")),
        ("key-algorithm", P384, 300, uri("spiffe://acme/node/n1")),
        ("key-algorithm", &["-algorithm", "ED448"], 300, uri("spiffe://acme/node/n1")),
        ("too-long", P256, 500, uri("spiffe://acme/node/n1")),
        ("too-long", P256, 300, uri("spiffe://acme/operator/ann")),
        ("too-long", P256, 3, uri("spiffe://acme/horde/web/api")),
        ("no-uri", P256, 300, format!("{LEAF}subjectAltName=DNS:n1.example\n")),
        ("many-uris", P256, 300, uri("spiffe://acme/node/n1,URI:spiffe://acme/node/n2")),
        ("key-usage", P256, 300, format!("basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\n{node}")),
        ("key-usage", P256, 300, format!("basicConstraints=CA:FALSE\n{node}")),
        ("ca-as-leaf", P256, 300, format!("basicConstraints=CA:TRUE\nkeyUsage=critical,digitalSignature\n{node}")),
        ("uri-percent", P256, 300, uri("spiffe://acme/node/n%31")),
    ];
    for (n, (code, algorithm, days, extensions)) in cases.into_iter().enumerate() {
        let dir = pki.issue(&format!("bad{n}"), algorithm, days, &extensions);
        let found = crux_pki::inspect(&dir, unix_now()).unwrap();
        assert_eq!(found.refusal.as_ref().map(crux_pki::Refusal::code), Some(code), "{found:?}");
        let error = Bundle::load(&dir).unwrap_err().to_string();
        assert!(error.contains("cert.pem: ") && error.contains("; "), "{error}");
    }
    // A weak signature: SHA-1 is on nobody's list.
    pki.key("sha1", P256);
    fs::write(pki.path("ext"), uri("spiffe://acme/node/n1")).unwrap();
    pki.run(&["req", "-new", "-key", "sha1.key", "-subj", "/CN=x", "-out", "csr"]);
    pki.run(&[
        "x509",
        "-req",
        "-sha1",
        "-in",
        "csr",
        "-CA",
        "middle.pem",
        "-CAkey",
        "middle.key",
        "-CAcreateserial",
        "-days",
        "9",
        "-extfile",
        "ext",
        "-out",
        "sha1.pem",
    ]);
    let refusal = Bundle::load(&pki.bundle("sha1")).unwrap().check(unix_now()).unwrap_err();
    assert_eq!(refusal.code(), "signature-algorithm", "{refusal}");
    // Without the intermediate nobody can tell who signed it.
    let dir = pki.issue("alone", P256, 300, &uri("spiffe://acme/node/n1"));
    fs::copy(pki.path("alone.pem"), dir.join("cert.pem")).unwrap();
    assert_eq!(Bundle::load(&dir).unwrap().check(unix_now()).unwrap_err().code(), "other-root");
    // And of another bloc, whoever signed it.
    let bundle = Bundle::load(&pki.issue("other", P256, 300, &uri("spiffe://other/node/n1"))).unwrap();
    let ours = Trust::new(BlocName::parse("acme").unwrap(), bundle.trust().roots().cloned()).unwrap();
    assert_eq!(ours.verify_chain(bundle.chain(), unix_now()).unwrap_err().code(), "other-bloc");
    let _: &Signer = bundle.signer();
}

#[test]
fn a_foreign_root_of_the_same_name_is_untrusted_and_a_damaged_signature_is_damaged() {
    if !has_openssl() {
        return;
    }
    for algorithm in [P256, ED25519, RSA] {
        // Both roots are "O=Old PKI, CN=Root", and so are the intermediates.
        let (ours, theirs) = (Pki::new(algorithm), Pki::new(algorithm));
        let load = |pki: &Pki| Bundle::load(&pki.issue("n1", P256, 300, &uri("spiffe://acme/node/n1"))).unwrap();
        let (ours, theirs) = (load(&ours), load(&theirs));
        let now = unix_now();
        ours.check(now).unwrap();
        theirs.check(now).unwrap();
        let refusal = ours.trust().verify_chain(theirs.chain(), now).unwrap_err();
        assert_eq!(refusal.code(), "other-root", "{refusal}");
        assert!(refusal.to_string().starts_with("certificate signed by none of the trusted roots"), "{refusal}");
        let undated = ours.trust().verify_chain_undated(theirs.chain()).unwrap_err();
        assert_eq!(undated.code(), "other-root", "{undated}");
        // Ours, with one bit of its signature turned.
        let mut chain = ours.chain().to_vec();
        let mut der = chain[0].to_vec();
        *der.last_mut().unwrap() ^= 1;
        chain[0] = der.into();
        let refusal = ours.trust().verify_chain(&chain, now).unwrap_err();
        assert_ne!(refusal.code(), "other-root", "{refusal}");
    }
}
