//! tshark beside the programs: on the very device that they look at.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fathom_lab::Lab;
use fathom_lab::machine::process::Process;

use crate::program;
use crate::site;
use crate::support::eventually;

/// A capture under way, of all packets of one device.
pub struct Capture<'a> {
    lab: &'a Lab,
    name: String,
    file: PathBuf,
    process: Process,
}

impl<'a> Capture<'a> {
    /// Begins at the node's side of a pod's cable.
    #[track_caller]
    pub fn start(lab: &'a Lab, node: &str, pod: &str) -> Self {
        let result = lab.pod(pod).unwrap().result;
        let device = result["interfaces"][0]["name"].as_str().expect("the node's device comes first");
        let name = format!("capture-{node}");
        let file = site::directory(lab, "capture").join(format!("{node}.pcapng"));
        let _ = std::fs::remove_file(&file);
        let path = file.display().to_string();
        let line = ["-q", "-n", "-i", device, "-w", &path];
        let process = lab.start_program(node, &name, &program::find("tshark"), &line).unwrap();
        let capture = Self { lab, name, file, process };
        // Made when the device is open.
        eventually("the capture to begin", || {
            assert!(capture.process.id.alive(), "tshark died: {}", capture.process.tail(10));
            capture.file.exists()
        });
        capture
    }

    /// Fields of the packets that a display filter lets through, as far as they are written.
    #[track_caller]
    fn fields(&self, decode: &str, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
        let mut command = std::process::Command::new(program::find("tshark"));
        command.args(["-n", "-r"]).arg(&self.file).args(["-d", decode, "-Y", filter, "-T", "fields"]);
        fields.iter().for_each(|field| _ = command.args(["-e", field]));
        let output = command.output().unwrap();
        // Of a file that is being written the last packet may be cut short, which tshark calls an error.
        let text = String::from_utf8(output.stdout).unwrap();
        let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        whole.map(|line| line.split('\t').map(str::to_owned).collect()).collect()
    }

    /// URL and tshark's own time from request to response, nanoseconds.
    #[track_caller]
    pub fn http(&self, port: u16) -> BTreeMap<String, u64> {
        let fields = ["http.response_for.uri", "http.time"];
        let lines = self.fields(&format!("tcp.port=={port},http"), "http.time", &fields);
        lines.into_iter().map(|line| (line[0].clone(), nanoseconds(&line[1]))).collect()
    }

    /// Name asked for and tshark's own time from query to answer, nanoseconds.
    #[track_caller]
    pub fn dns(&self, port: u16) -> BTreeMap<String, u64> {
        let fields = ["dns.qry.name", "dns.time"];
        let lines = self.fields(&format!("udp.port=={port},dns"), "dns.time", &fields);
        lines.into_iter().map(|line| (line[0].clone(), nanoseconds(&line[1]))).collect()
    }

    /// The client's port and stream, and the time from the client's first HEADERS to the server's, nanoseconds.
    /// Both are in one packet each.
    #[track_caller]
    pub fn http2(&self, port: u16) -> BTreeMap<(u16, u32), u64> {
        let fields = ["frame.time_epoch", "tcp.srcport", "tcp.dstport", "http2.type", "http2.streamid"];
        let lines = self.fields(&format!("tcp.port=={port},http2"), "http2.type == 1", &fields);
        let (mut asked, mut answered) = (BTreeMap::new(), BTreeMap::new());
        for line in lines {
            let number = |text: &str| text.parse::<u32>().unwrap_or_else(|e| panic!("{line:?}: {e}"));
            let at = nanoseconds(&line[0]);
            let (from, to) = (number(&line[1]) as u16, number(&line[2]) as u16);
            let (times, client) = if to == port { (&mut asked, from) } else { (&mut answered, to) };
            let (types, streams) = (line[3].split(','), line[4].split(','));
            for (_, stream) in types.zip(streams).filter(|(kind, _)| *kind == "1") {
                times.entry((client, number(stream))).or_insert(at);
            }
        }
        let took = |(call, at): (_, u64)| Some((call, at.checked_sub(*asked.get(&call)?)?));
        answered.into_iter().filter_map(took).collect()
    }
}

impl Drop for Capture<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.lab.stop_workload(&self.name) {
            eprintln!("{}: {error:#}", self.name);
        }
    }
}

/// Of seconds with a fraction.
#[track_caller]
fn nanoseconds(seconds: &str) -> u64 {
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    format!("{whole}{fraction:0<9.9}").parse().unwrap_or_else(|e| panic!("{seconds:?}: {e}"))
}
