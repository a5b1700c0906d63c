//! One measured number: a name, a value, a unit, on a line of its own.

use std::fmt;

use serde::Serialize;

/// `area.metric value unit`, as every benchmark here prints it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: String,
}

impl Figure {
    /// The figure on a line, if the line is one.
    pub fn parse(line: &str) -> Option<Self> {
        let (name, rest) = line.trim_end().split_once(' ')?;
        let (value, unit) = rest.split_once(' ').unwrap_or((rest, ""));
        let named = name.contains('.') && name.chars().all(|c| c.is_ascii_alphanumeric() || "._".contains(c));
        let value: f64 = value.parse().ok()?;
        named.then(|| Self { name: name.to_owned(), value, unit: unit.to_owned() })
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, in_three_digits(self.value), self.unit)
    }
}

/// Prints one.
pub fn figure(name: &str, value: f64, unit: &str) {
    println!("{}", Figure { name: name.to_owned(), value, unit: unit.to_owned() });
}

/// As many decimals as mean something.
pub fn in_three_digits(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.3}"),
        _ => format!("{value:.5}"),
    }
}

/// The middle one.
///
/// # Panics
/// Of nothing there is no median.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_figure_is_read_again() {
        let figure = Figure { name: "a.b".into(), value: 1234.0, unit: "flows/s".into() };
        assert_eq!(Figure::parse(&figure.to_string()), Some(figure));
    }

    #[test]
    fn other_lines_are_no_figures() {
        for line in ["", "Compiling x.y 1.0", "a.b", "a.b c d", "running 3 tests", "12 5 ms"] {
            assert_eq!(Figure::parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_unit_may_have_several_words() {
        let figure = Figure::parse("a.b 3.5 ns (server and client)").unwrap();
        assert_eq!((figure.value, figure.unit.as_str()), (3.5, "ns (server and client)"));
    }
}
