//! `fathom install` and `uninstall`, against an API server in memory.

mod common;

use common::{fathom, run};
use fathom_fake_apiserver::{ApiServer, Options};

#[test]
fn what_it_prints_is_the_file_to_apply_and_nobody_is_asked() {
    let (status, out, err) = run(fathom("install -o yaml"));
    assert_eq!((status, err.as_str()), (0, ""));
    let file = include_str!("../../../manifests/fathom.yaml");
    let file: String =
        file.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    assert_eq!(out, file);
    let (status, out, _) =
        run(fathom("install --dry-run client --mode attach --tls=false --namespace fathom"));
    assert_eq!(status, 0);
    assert!(out.contains("DaemonSet/fathom-agent would be applied"), "{out}");
}

#[test]
fn slips_are_named() {
    for (line, status, words) in [
        ("install --namespace Fathom! -o yaml", 2, "Fathom!"),
        ("install --api-server nowhere -o yaml", 2, "HOST:PORT"),
        ("install --wait=soon --kubeconfig /nonexistent", 2, "--wait"),
        ("install --kubeconfig /nonexistent/config", 1, "/nonexistent/config"),
        ("install", 1, "--kubeconfig"),
    ] {
        let (got, out, err) = run(fathom(line));
        assert_eq!(got, status, "{line}: {out}{err}");
        assert!(err.contains(words), "{line}: {err}");
    }
}

#[test]
fn objects_are_applied_then_unchanged_and_taken_away_but_for_definitions() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let options = Options { admin_token: Some("admin".into()), ..Options::default() };
    let server = runtime.block_on(ApiServer::start(options)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config");
    std::fs::write(&path, server.kubeconfig("admin")).unwrap();
    let on = |line: &str| run(fathom(&format!("{line} --kubeconfig {}", path.display())));
    let all = |out: &str, word: &str| {
        assert!(out.lines().count() > 10 && out.lines().all(|line| line.ends_with(word)), "{out}");
    };
    let (status, out, err) = on("install");
    assert_eq!((status, err.as_str()), (0, ""));
    all(&out, " created");
    all(&on("install --dry-run server").1, " unchanged (server dry run)");
    all(&on("install").1, " unchanged");

    let (status, _, err) = on("install --wait=1s");
    assert_eq!(status, 1);
    assert!(err.contains("DaemonSet/fathom-agent: 0 of 0 ready, not rolled out yet"), "{err}");

    let (status, out, err) = on("uninstall --keep-nodes");
    assert_eq!((status, err.as_str()), (0, ""));
    let (last, rest) = out.trim_end().rsplit_once('\n').unwrap();
    assert!(last.contains("fathomidentities.fathom.dev kept"), "{out}");
    all(rest, " deleted");
    assert_eq!(
        on("uninstall --keep-nodes --purge").1,
        "CustomResourceDefinition/fathomidentities.fathom.dev deleted\n"
    );

    std::fs::write(&path, server.kubeconfig("nobody")).unwrap();
    let (status, _, err) = on("install");
    assert_eq!(status, 1);
    assert!(
        err.contains("the cluster at http://127.0.0.1") && err.contains("CustomResourceDefinition"),
        "{err}"
    );
}
