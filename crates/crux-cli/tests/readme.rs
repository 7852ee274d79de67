//! The commands that the README tells a newcomer to type.

/// `cargo run` at the root of the workspace finds several binaries; one of them has to be named as the program.
#[test]
fn the_first_command_of_the_readme_means_the_program() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let readme = std::fs::read_to_string(format!("{root}/README.md")).unwrap();
    assert!(readme.contains("\ncargo run --release -- up --dev 5\n"));
    let mut programs = Vec::new();
    for entry in std::fs::read_dir(format!("{root}/crates")).unwrap() {
        let manifest = entry.unwrap().path().join("Cargo.toml");
        let text = std::fs::read_to_string(manifest).unwrap_or_default();
        programs.extend(text.lines().filter_map(|line| line.strip_prefix("default-run = ")).map(str::to_owned));
    }
    assert_eq!(programs, ["\"crux\""]);
}
