//! Programs of other people: found, or missed by the name of their package.

use std::path::{Path, PathBuf};

/// Program and the Debian package it comes in.
const PACKAGES: &[(&str, &str)] = &[
    ("curl", "curl"),
    ("dig", "bind9-dnsutils"),
    ("dnsmasq", "dnsmasq-base"),
    ("h2load", "nghttp2-client"),
    ("kcat", "kcat"),
    ("nghttp", "nghttp2-client"),
    ("nghttpd", "nghttp2-server"),
    ("nghttpx", "nghttp2-proxy"),
    ("nginx", "nginx-light"),
    ("tshark", "tshark"),
    ("wrk", "wrk"),
];

/// Where a program is.
#[track_caller]
pub fn find(name: &str) -> PathBuf {
    let package = PACKAGES.iter().find(|(program, _)| *program == name).map_or(name, |(_, package)| package);
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Servers are not in everybody's PATH.
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = places.map(|place| place.join(name)).find(|file| file.is_file());
    found
        .unwrap_or_else(|| panic!("{name} is missing: ci/bootstrap --software, or apt-get install {package}"))
}

/// A program's path as a word of a command line.
#[track_caller]
pub fn word(name: &str) -> String {
    find(name).display().to_string()
}

/// Any Python with its standard library.
#[track_caller]
pub fn find_python() -> PathBuf {
    let works = |python: &Path| {
        let asked = std::process::Command::new(python).args(["-c", "import http.server"]).output();
        asked.is_ok_and(|output| output.status.success())
    };
    let python = [find("python3"), "/usr/bin/python3".into()].into_iter().find(|python| works(python));
    python.unwrap_or_else(|| panic!("no python3 works: ci/bootstrap --software, or apt-get install python3"))
}

/// A Python with the packages of ci/interop/software.txt.
#[track_caller]
pub fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let made = std::process::Command::new(root.join("ci/interop/python")).arg("software").output().unwrap();
    assert!(made.status.success(), "ci/interop/python: {}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().into()
}

/// So many times the requests of an ordinary run.
pub fn times(ordinary: usize) -> usize {
    let times = std::env::var("FATHOM_SOFTWARE_TIMES").ok();
    ordinary * times.map_or(1, |times| times.parse().expect("FATHOM_SOFTWARE_TIMES is a number"))
}
