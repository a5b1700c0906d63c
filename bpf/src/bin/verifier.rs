//! `fathom-verifier`: what each program costs this kernel's verifier, one line per program.

use std::process::ExitCode;

use fathom_bpf::load::verifier_costs;
use fathom_bpf::probe::Features;

fn main() -> ExitCode {
    let costs = match verifier_costs() {
        Ok(costs) => costs,
        Err(error) => {
            eprintln!("fathom-verifier: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("kernel {}", Features::probe().kernel);
    println!(
        "{:<20} {:>8} {:>10} {:>9} {:>9} {:>8}",
        "program", "insns", "processed", "limit", "headroom", "ms"
    );
    for cost in costs {
        println!(
            "{:<20} {:>8} {:>10} {:>9} {:>8.0}x {:>8.1}",
            cost.name,
            cost.instructions,
            cost.processed,
            cost.limit,
            cost.headroom(),
            cost.time.as_secs_f64() * 1e3,
        );
    }
    ExitCode::SUCCESS
}
