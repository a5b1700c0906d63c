//! What a packet costs in `from_pod` and `to_pod`, in nanoseconds net of an empty tc program.
//!
//! `cargo bench --profile release -p fathom-bpf --bench datapath [-- --quick] [-- FILTER]`, as root.
//! Program and empty program take turns; each figure is the median of the differences. One
//! `name value unit` line per figure; FILTER is a part of the names wanted.

use fathom_bpf::load::Program;
use fathom_bpf::testing::in_new_netns;

#[path = "datapath/measure.rs"]
mod measure;
#[path = "datapath/packets.rs"]
mod packets;
#[path = "datapath/stage.rs"]
mod stage;

use measure::Rounds;
use packets::Family;
use stage::{FIRST_IN_FULL, FIRST_NEW, Stage};

const PROGRAMS: [Program; 2] = [Program::FromPod, Program::ToPod];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let rounds = if args.iter().any(|arg| arg == "--quick") { Rounds::QUICK } else { Rounds::FULL };
    let filter = args.iter().find(|arg| !arg.starts_with("--")).cloned().unwrap_or_default();
    in_new_netns(|| {
        for family in [Family::V4, Family::V6] {
            let mut stage = Stage::new();
            let mut report = |what: &str, measure: &mut dyn FnMut(&mut Stage, Program) -> f64| {
                for program in PROGRAMS {
                    let name = format!("datapath.{what}.{}.{}", program.name(), family.name());
                    if name.contains(&filter) {
                        println!("{name} {:.1} ns", measure(&mut stage, program));
                    }
                }
            };
            report("established", &mut |s, p| measure::established(s, p, family, rounds));
            report("added_by_l7", &mut |_, p| measure::added_by_reading(p, family, rounds));
            report("flows_4096", &mut |s, p| measure::many_flows(s, p, family, rounds));
            // Flows of both programs share the table: new ones while it has room, then in a full one.
            let few = rounds.while_there_is_room();
            report("new_flow_table_empty", &mut |s, p| measure::new_flow(s, p, family, FIRST_NEW, few));
            report("new_flow", &mut |s, p| {
                s.fill_conntrack(family);
                measure::new_flow(s, p, family, FIRST_IN_FULL, rounds)
            });
        }
    });
}
