//! Results beside aims, for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::aims::{AIMS, Aim, Bound};
use crate::figure::{Figure, in_three_digits};

/// One aim and what became of it, as JSON.
#[derive(Debug, Serialize)]
struct Row<'a> {
    figure: &'a str,
    about: &'a str,
    /// `null`: not measured.
    value: Option<f64>,
    unit: &'a str,
    aim: Option<Bound>,
    /// `null`: no aim, or not measured.
    ok: Option<bool>,
    /// From the literature, not measured here.
    reference: &'a str,
}

/// Everything measured, in one object.
#[derive(Debug, Serialize)]
struct Document<'a> {
    aims: Vec<Row<'a>>,
    figures: &'a [Figure],
    failed: &'a [String],
}

fn row<'a>(aim: &'a Aim, figures: &'a [Figure]) -> Row<'a> {
    let found = figures.iter().find(|figure| figure.name == aim.figure);
    Row {
        figure: aim.figure,
        about: aim.about,
        value: found.map(|figure| figure.value),
        unit: found.map_or("", |figure| &figure.unit),
        aim: aim.bound,
        ok: found.and_then(|figure| aim.bound.map(|bound| bound.holds(figure.value))),
        reference: aim.reference,
    }
}

/// All figures, aims and failures as one JSON object.
///
/// # Errors
/// When a figure is no number.
pub fn json(figures: &[Figure], failed: &[String]) -> serde_json::Result<String> {
    let aims = AIMS.iter().map(|aim| row(aim, figures)).collect();
    serde_json::to_string_pretty(&Document { aims, figures, failed })
}

/// The table.
pub fn text(figures: &[Figure]) -> String {
    let mut lines = vec![["", "measured", "aim", "", "reference*"].map(str::to_owned)];
    for aim in &AIMS {
        let row = row(aim, figures);
        let measured =
            row.value.map_or_else(|| "—".to_owned(), |v| format!("{} {}", in_three_digits(v), row.unit));
        let bound = match row.aim {
            Some(Bound::AtMost(bound)) => format!("≤ {}", in_three_digits(bound)),
            Some(Bound::AtLeast(bound)) => format!("≥ {}", in_three_digits(bound)),
            None => String::new(),
        };
        let verdict = match row.ok {
            Some(true) => "ok",
            Some(false) => "MISSED",
            None if row.value.is_none() => "not measured",
            None => "",
        };
        lines.push([
            row.about.to_owned(),
            measured.trim_end().to_owned(),
            bound,
            verdict.to_owned(),
            row.reference.to_owned(),
        ]);
    }
    let width = |column: usize| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut out = String::new();
    for [about, measured, bound, verdict, reference] in &lines {
        let [a, m, b, v, _] = widths;
        let line = format!("{about:<a$}  {measured:>m$}  {bound:>b$}  {verdict:<v$}  {reference}");
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out.push_str("* the reference's own figures on such a machine, as published; not measured here\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Vec<Figure> {
        let figure = |name: &str, value| Figure { name: name.into(), value, unit: "ns".into() };
        vec![
            figure("datapath.established.from_pod.v4", 60.0),
            figure("datapath.established.to_pod.v4", 160.0),
            figure("datapath.established.to_pod.v6", 61.0),
        ]
    }

    #[test]
    fn a_row_says_ok_missed_not_measured_or_nothing() {
        let text = text(&figures());
        let line = |about: &str| {
            let line = text.lines().find(|line| line.starts_with(about)).unwrap_or_default();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert!(line("established TCP packet, from_pod").ends_with("60.0 ns ≤ 100 ok"), "{text}");
        assert!(line("established TCP packet, to_pod").ends_with("160 ns ≤ 100 MISSED"), "{text}");
        assert!(line("the same, IPv6, to_pod").ends_with("61.0 ns"), "{text}");
        assert!(line("bulk throughput").ends_with("not measured"), "{text}");
    }

    #[test]
    fn the_json_holds_every_aim_and_figure() {
        let figures = figures();
        let text = json(&figures, &["relay".to_owned()]).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["aims"].as_array().unwrap().len(), AIMS.len());
        assert_eq!(value["figures"].as_array().unwrap().len(), 3);
        assert_eq!((&value["aims"][0]["ok"], &value["aims"][1]["ok"]), (&true.into(), &false.into()));
        assert_eq!(value["failed"][0], "relay");
    }
}
