//! The committed gRPC code is what its generator makes of the protos. After a change of a proto:
//! `CRUX_REGENERATE=1 cargo test -p crux-api --test generated`.

use prost::Message;
use std::fs;
use std::path::Path;

#[test]
fn committed_grpc_code_is_what_the_protos_give() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let protos = here.join("proto");
    let files = ["crux/v1/access.proto", "crux/v1/confab.proto", "crux/v1/events.proto", "crux/v1/yurt.proto"];
    let set = protox::compile(files, [&protos]).expect("the protos compile");
    let out = tempfile::tempdir().expect("a directory");
    tonic_prost_build::configure()
        .build_transport(false)
        .out_dir(out.path())
        .compile_fds(set.clone())
        .expect("code is generated");

    let code = fs::read(out.path().join("crux.v1.rs")).expect("generated code");
    for (name, fresh) in [("crux.v1.rs", code), ("crux.v1.bin", set.encode_to_vec())] {
        let committed = here.join("src/grpc").join(name);
        if std::env::var_os("CRUX_REGENERATE").is_some() {
            fs::write(&committed, &fresh).expect("write the committed file");
        }
        let stands = fs::read(&committed).unwrap_or_default();
        assert!(
            stands == fresh,
            "{name} is not what the protos give: CRUX_REGENERATE=1 cargo test -p crux-api --test generated"
        );
    }
}
