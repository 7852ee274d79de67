//! `crux ca inspect` on certificates that must be refused: the binary names the reason of each. They are made by openssl;
//! without it on the machine the test says so and passes (the whole table runs in crux-pki without it).

mod help;
use help::World;
use serde_json::Value;
use std::process::Command;

const USAGES: &str =
    "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n";

struct Maker(World);

impl Maker {
    fn openssl(&self, words: &str) {
        let out = Command::new("openssl").args(words.split(' ')).current_dir(self.0.path("")).output().unwrap();
        assert!(out.status.success(), "{words}: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// A leaf for `leaf.key` by `root.pem`.
    fn leaf(&self, days: u32, extensions: &str) {
        self.0.write("ext", extensions);
        self.openssl("req -new -key leaf.key -subj /O=x/CN=leaf -out csr");
        self.openssl(&format!(
            "x509 -req -in csr -CA root.pem -CAkey root.key -CAcreateserial -days {days} -extfile ext -out leaf.pem"
        ));
    }

    fn judged(&self, more: &[&str]) -> Value {
        let words = [&["ca", "inspect", "leaf.pem", "-o", "json"], more].concat();
        let ran = self.0.crux(&words);
        let judged: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(ran.code, i32::from(judged["usable"] == false), "{judged}");
        judged
    }
}

#[test]
fn each_bad_certificate_is_refused_for_its_own_reason() {
    if !Command::new("openssl").arg("version").output().is_ok_and(|out| out.status.success()) {
        eprintln!("skipped: there is no openssl command on this machine");
        return;
    }
    let maker = Maker(World::new());
    maker.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out root.key");
    maker.openssl("req -x509 -new -key root.key -subj /O=x/CN=root -days 3650 -out root.pem");
    maker.openssl("genpkey -algorithm ED25519 -out leaf.key");
    let uri = |uri: &str| format!("{USAGES}subjectAltName=URI:{uri}\n");
    let node = uri("spiffe://acme/node/n1");

    maker.leaf(90, &node);
    let good = maker.judged(&["--trust", "root.pem", "--role", "node"]);
    assert_eq!((&good["refusal"], &good["chains"]), (&Value::Null, &true.into()), "{good}");
    assert_eq!((&good["role"], &good["name"], &good["bloc"]), (&"node".into(), &"n1".into(), &"acme".into()));
    assert_eq!(
        (&good["life_days"], &good["max_days"], &good["key_algorithm"]),
        (&90.into(), &400.into(), &"Ed25519".into())
    );
    assert_eq!(good["roots"][0]["fingerprint"].as_str().unwrap().len(), 64);
    let other = maker.judged(&["--trust", "root.pem", "--role", "operator", "--role", "beacon"]);
    assert_eq!(other["refusal_code"], "wrong-role");
    maker.0.crux(&["ca", "init", "--bloc", "acme", "--out", "ca"]).done();
    assert_eq!(maker.judged(&["--trust", "ca"])["refusal_code"], "other-root");
    maker.0.crux(&["ca", "init", "--bloc", "other", "--out", "other"]).done();
    assert_eq!(maker.judged(&["--trust", "other"])["refusal_code"], "other-bloc");

    let cases = [
        (401, node.clone(), "too-long"),
        (101, uri("spiffe://acme/operator/ann"), "too-long"),
        (101, uri("spiffe://acme/beacon/watch"), "too-long"),
        (2, uri("spiffe://acme/horde/web/api"), "too-long"),
        (90, USAGES.to_owned(), "no-uri"),
        (90, uri("spiffe://acme/node/n1,URI:spiffe://acme/node/n2"), "many-uris"),
        (90, uri("spiffe://acme/node/N1"), "uri-upper-case"),
        (90, uri("spiffe://acme/node/n%31"), "uri-percent"),
        (90, uri("spiffe://acme/node/.."), "uri-dot-segment"),
        (90, uri("spiffe://acme/node/n1/"), "uri-empty-segment"),
        (90, uri("spiffe://acme/node/n1?a"), "uri-query"),
        (90, uri("spiffe://u@acme/node/n1"), "uri-userinfo"),
        (90, uri("spiffe://acme:1/node/n1"), "uri-port"),
        (90, uri("spiffe://acme/admin/n1"), "malformed-uri"),
        (90, uri(&format!("spiffe://acme/node/{}", "a".repeat(64))), "bad-name"),
        (90, node.replace("CA:FALSE", "CA:TRUE"), "ca-as-leaf"),
        (90, node.replace("digitalSignature", "digitalSignature,keyCertSign"), "key-usage"),
        (90, node.replace("digitalSignature", "keyAgreement"), "key-usage"),
        (90, node.replace("serverAuth,clientAuth", "clientAuth"), "extended-key-usage"),
        (90, node.clone() + "1.2.3.4=critical,ASN1:NULL\n", "critical-extension"),
        (90, node.clone() + "2.25.1906752461.1=ASN1:NULL\n", "admission-extension"),
    ];
    for (days, extensions, code) in cases {
        maker.leaf(days, &extensions);
        let found = maker.judged(&["--trust", "root.pem"]);
        assert_eq!(found["refusal_code"], code, "{extensions}{found}");
        let refusal = found["refusal"].as_str().unwrap();
        assert!(refusal.ends_with(found["next"].as_str().unwrap()), "{refusal}");
        let text = maker.0.crux(&["ca", "inspect", "leaf.pem", "--trust", "root.pem"]);
        assert!(text.unfit().contains(&format!("would be REFUSED: {refusal} [{code}]")), "{}", text.out);
    }
    maker.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out leaf.key");
    maker.leaf(90, &node);
    assert_eq!(maker.judged(&["--trust", "root.pem"])["refusal_code"], "key-algorithm");
}
