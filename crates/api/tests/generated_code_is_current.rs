//! The committed code under src/gen is what proto/ says.
//!
//! `FATHOM_REGENERATE=1 cargo test -p fathom-api --test generated_code_is_current` writes it anew.

use std::path::{Path, PathBuf};

use prost::Message;

const PROTOS: &[&str] = &[
    "flow/flow.proto",
    "relay/relay.proto",
    "observer/observer.proto",
    "peer/peer.proto",
    "fathom/v1/flow.proto",
    "fathom/v1/agent.proto",
    "fathom/v1/cni.proto",
    "fathom/v1/policy.proto",
];

fn generate(out: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let descriptors = protox::compile(PROTOS.iter().map(|p| root.join(p)), [&root]).expect("proto/ compiles");
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec()).expect("write descriptors");
    tonic_prost_build::configure()
        .out_dir(out)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors.clone())
        .expect("code for clients and decoders");
    // The same services again, with flow responses as raw bytes: what agent and relay serve.
    let raw = out.join("raw");
    std::fs::create_dir_all(&raw).expect("raw/");
    let observer_only = prost_types::FileDescriptorSet {
        file: descriptors.file.into_iter().filter(|f| f.name().starts_with("observer/")).collect(),
    };
    tonic_prost_build::configure()
        .out_dir(&raw)
        .emit_rerun_if_changed(false)
        .extern_path(".flow", "crate::flow")
        .extern_path(".relay", "crate::relay")
        .extern_path(".observer.GetFlowsResponse", "crate::Raw")
        .extern_path(".observer", "crate::observer")
        .compile_fds(observer_only)
        .expect("code for servers and pass-through");
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("read_dir") {
        let path = entry.expect("entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[test]
fn generated_code_is_current() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gen");
    if std::env::var_os("FATHOM_REGENERATE").is_some() {
        std::fs::create_dir_all(&committed).expect("src/gen");
        generate(&committed);
        return;
    }
    let fresh = tempfile::tempdir().expect("tempdir");
    generate(fresh.path());
    let names = |root: &Path| {
        files(root).iter().map(|p| p.strip_prefix(root).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&committed), names(fresh.path()), "set of generated files");
    for name in names(fresh.path()) {
        let (want, have) =
            (std::fs::read(fresh.path().join(&name)).unwrap(), std::fs::read(committed.join(&name)).unwrap());
        assert!(want == have, "{} is stale: run with FATHOM_REGENERATE=1", name.display());
    }
}
