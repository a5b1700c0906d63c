//! Servers and clients: grpcio's, and tonic's in the lab's own program.

use std::path::PathBuf;
use std::process::Command;

use super::plan::Plan;
use super::told::Told;
use crate::program;
use crate::site::{Server, Site};
use crate::support::tools;

/// An implementation of gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Grpcio,
    Tonic,
}

impl Kind {
    /// Where its server listens.
    pub fn port(self) -> u16 {
        match self {
            Self::Grpcio => 50061,
            Self::Tonic => 50062,
        }
    }

    /// The status its server ends a call with at the deadline that it was told of: tonic says Cancelled.
    pub fn at_deadline(self) -> u32 {
        match self {
            Self::Grpcio => 4,
            Self::Tonic => 1,
        }
    }
}

/// What both ends are made of.
pub struct Talk<'a> {
    site: &'a Site,
    python: PathBuf,
    script: PathBuf,
    generated: PathBuf,
}

impl<'a> Talk<'a> {
    /// Generates the code of talk.proto.
    #[track_caller]
    pub fn new(site: &'a Site) -> Self {
        let home = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/software/grpc");
        let (python, generated) = (program::python(), site.directory("talk"));
        let into = |kind: &str| format!("--{kind}_out={}", generated.display());
        let made = Command::new(&python)
            .args(["-m", "grpc_tools.protoc", &into("python"), &into("grpc_python"), "-I"])
            .args([home.as_os_str(), "talk.proto".as_ref()])
            .output()
            .unwrap();
        assert!(made.status.success(), "protoc: {}", String::from_utf8_lossy(&made.stderr));
        Self { site, python, script: home.join("talk.py"), generated }
    }

    #[track_caller]
    pub fn serve(&self, kind: Kind) -> Server<'a> {
        let port = kind.port();
        let listen = format!("0.0.0.0:{port}");
        let script = self.script.display().to_string();
        match kind {
            Kind::Grpcio => {
                let generated = self.generated.display().to_string();
                let line = ["-u", &script, &generated, "serve", &port.to_string()];
                self.site.serve("talk-grpcio", &self.python, &line, port)
            }
            Kind::Tonic => {
                let line = ["workload", "talk-server", "--listen", &listen];
                self.site.serve("talk-tonic", &tools().lab, &line, port)
            }
        }
    }

    /// Makes the calls, `together` at once, and returns what the client says of them.
    #[track_caller]
    pub fn ask(&self, kind: Kind, place: &str, to: &str, plans: &[Plan], together: usize) -> Vec<Told> {
        let client = &plans[0].trace[..8];
        let file = self.generated.join(format!("{client}.plan"));
        let lines: Vec<String> = plans.iter().map(|plan| serde_json::to_string(plan).unwrap()).collect();
        std::fs::write(&file, lines.join("\n")).unwrap();
        let (plan, together) = (file.display().to_string(), together.to_string());
        let word = |path: &PathBuf| path.display().to_string();
        let (python, script, generated) = (word(&self.python), word(&self.script), word(&self.generated));
        let lab = word(&tools().lab);
        let text = match kind {
            Kind::Grpcio => {
                self.site.run(place, &[&python, &script, &generated, "ask", to, &plan, &together])
            }
            Kind::Tonic => {
                let line = ["workload", "talk-client", "--to", to, "--plan", &plan, "--together", &together];
                self.site.run(place, &[&[lab.as_str()], &line[..]].concat())
            }
        };
        Told::all(&text)
    }
}
