//! Compiles every `bpf/*.bpf.c`, links them into one object and writes one Rust skeleton.
//!
//! Needs clang (14 or newer) and nothing else: no network, no bpftool, no kernel headers. libbpf's
//! own headers come from the libbpf-sys crate, wire and kernel structures from `bpf/include`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs, io};

use libbpf_cargo::SkeletonBuilder;

/// Compilers to look for when `FATHOM_CLANG` says nothing; newest first.
const COMPILERS: [&str; 7] =
    ["clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14", "clang"];

/// `-mcpu=v3`: 32-bit jumps, as any kernel since 5.1 takes them; v4 needs 6.6. Optimisation,
/// debug information (for BTF) and the target are added by libbpf-cargo: `-O2 -g -target bpf`.
const COMPILER_FLAGS: [&str; 6] =
    ["-mcpu=v3", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-sign-compare"];

fn main() -> ExitCode {
    println!("cargo::rerun-if-env-changed=FATHOM_CLANG");
    println!("cargo::rerun-if-env-changed=PATH");
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            for line in message.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("not run by cargo")?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("not run by cargo")?);
    let sources = sources(&root.join("bpf"))?;
    let clang = find_clang()?;

    let linked = out.join("fathom.o");
    let mut linker =
        libbpf_rs::Linker::new(&linked).map_err(|e| format!("cannot start libbpf's linker: {e}"))?;
    for source in &sources {
        let object = out.join(source.file_name().unwrap_or_default()).with_extension("o");
        compile(&clang, &root, source, &object)?;
        linker.add_file(&object).map_err(|e| format!("cannot link {}: {e}", object.display()))?;
    }
    linker.link().map_err(|e| format!("cannot link {}: {e}", linked.display()))?;
    println!("cargo::rustc-env=FATHOM_OBJECT={}", linked.display());

    SkeletonBuilder::new()
        .obj(&linked)
        .reference_obj(true)
        .generate(out.join("fathom.skel.rs"))
        .map_err(|e| format!("cannot write the skeleton: {e:#}"))
}

/// The programs to compile, in a stable order; tells cargo to watch them and every header.
fn sources(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let list = |dir: &Path| -> io::Result<Vec<PathBuf>> {
        let mut files =
            fs::read_dir(dir)?.map(|entry| entry.map(|e| e.path())).collect::<io::Result<Vec<_>>>()?;
        files.sort();
        Ok(files)
    };
    let include = dir.join("include");
    // The directories themselves: a file added or removed counts as a change.
    println!("cargo::rerun-if-changed={}", dir.display());
    println!("cargo::rerun-if-changed={}", include.display());
    println!("cargo::rerun-if-changed={}", include.join("l7").display());
    for header in list(&include).map_err(|e| format!("cannot list {}: {e}", include.display()))? {
        println!("cargo::rerun-if-changed={}", header.display());
    }
    let sources: Vec<PathBuf> = list(dir)
        .map_err(|e| format!("cannot list {}: {e}", dir.display()))?
        .into_iter()
        .filter(|path| path.to_string_lossy().ends_with(".bpf.c"))
        .collect();
    if sources.is_empty() {
        return Err(format!("no *.bpf.c in {}", dir.display()));
    }
    Ok(sources)
}

/// `FATHOM_CLANG`, else the first of [`COMPILERS`] that runs.
fn find_clang() -> Result<OsString, String> {
    let runs = |name: &OsString| {
        Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if let Some(chosen) = env::var_os("FATHOM_CLANG").filter(|value| !value.is_empty()) {
        if runs(&chosen) {
            return Ok(chosen);
        }
        return Err(format!("FATHOM_CLANG={} does not run", chosen.to_string_lossy()));
    }
    COMPILERS.iter().map(OsString::from).find(runs).ok_or_else(|| {
        format!(
            "no clang found (looked for {}).\n\
             `ci/bootstrap` installs it; or set FATHOM_CLANG to a clang 14 or newer.",
            COMPILERS.join(", ")
        )
    })
}

fn compile(clang: &OsString, root: &Path, source: &Path, object: &Path) -> Result<(), String> {
    let mut flags: Vec<OsString> = COMPILER_FLAGS.iter().map(OsString::from).collect();
    let mut include = OsString::from("-I");
    include.push(root.join("bpf/include"));
    flags.push(include);
    SkeletonBuilder::new()
        .source(source)
        .obj(object)
        .clang(clang)
        .clang_args(flags)
        .build()
        .map_err(|e| format!("cannot compile {}: {}", source.display(), e.root_cause()))
}
