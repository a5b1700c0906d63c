//! Findings for people.

use std::io::{self, Write};

use fathom_api::fathom_v1::{Finding, Severity};

use crate::terminal::colour::{Ink, Palette};
use crate::terminal::escape::Escaped;
use crate::terminal::quantity::counted;

/// Columns before what is the case: indentation, severity, check.
const INDENT: usize = 2 + 10 + 12;

/// Node by node in the order they come, then how many of each kind.
pub fn table(out: &mut impl Write, findings: &[Finding], verbose: bool, palette: Palette) -> io::Result<()> {
    let mut nodes: Vec<&str> = Vec::new();
    for finding in findings {
        if !nodes.contains(&&*finding.node_name) {
            nodes.push(&finding.node_name);
        }
    }
    for node in &nodes {
        let own = || findings.iter().filter(|finding| finding.node_name == **node);
        let shown: Vec<&Finding> =
            own().filter(|finding| verbose || finding.severity() != Severity::Ok).collect();
        let name = palette.paint(Ink::Host, Escaped(node));
        if shown.is_empty() {
            writeln!(out, "{name}: {}", palette.paint(Ink::Good, "all well"))?;
            continue;
        }
        writeln!(out, "{name}")?;
        for finding in shown {
            one(out, finding, palette)?;
        }
    }
    sum(out, findings, nodes.len(), verbose, palette)
}

fn one(out: &mut impl Write, finding: &Finding, palette: Palette) -> io::Result<()> {
    let (word, ink) = word(finding.severity());
    let (check, what) = (Escaped(&finding.check).to_string(), Escaped(&finding.what));
    writeln!(out, "  {} {check:<11} {what}", palette.paint(ink, format!("{word:<9}")))?;
    for (label, text) in [("so", &finding.consequence), ("do", &finding.remedy)] {
        if !text.is_empty() {
            writeln!(out, "{:INDENT$}{label}: {}", "", Escaped(text))?;
        }
    }
    Ok(())
}

fn word(severity: Severity) -> (&'static str, Ink) {
    match severity {
        Severity::Missing => ("MISSING", Ink::Bad),
        Severity::Degraded => ("degraded", Ink::Notable),
        Severity::Info => ("info", Ink::Plain),
        Severity::Ok => ("ok", Ink::Good),
        Severity::Unspecified => ("?", Ink::Notable),
    }
}

/// `2 nodes: 1 missing, 40 ok (--verbose shows them)`
fn sum(
    out: &mut impl Write,
    findings: &[Finding],
    nodes: usize,
    verbose: bool,
    palette: Palette,
) -> io::Result<()> {
    let count = |severity| findings.iter().filter(|finding| finding.severity() == severity).count();
    let kinds = [
        (Severity::Missing, "missing"),
        (Severity::Degraded, "degraded"),
        (Severity::Info, "worth knowing"),
        (Severity::Ok, "ok"),
    ];
    let counts: Vec<String> = kinds
        .into_iter()
        .map(|(severity, name)| (count(severity), severity, name))
        .filter(|(count, ..)| *count > 0)
        .map(|(count, severity, name)| palette.paint(word(severity).1, format!("{count} {name}")).to_string())
        .collect();
    let hint = if verbose || count(Severity::Ok) == 0 { "" } else { " (--verbose shows them)" };
    writeln!(out, "{}: {}{hint}", counted(nodes as u64, "place"), counts.join(", "))
}
