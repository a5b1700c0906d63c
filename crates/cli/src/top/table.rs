//! Routes in columns: who, what, and right-aligned numbers.

use super::exchange::Protocol;
use super::numbers::Windowed;
use super::report::{Report, rate_text};
use super::routes::Route;
use crate::terminal::colour::{Ink, Palette};
use crate::terminal::escape::Escaped;
use crate::terminal::quantity::{grouped, latency};

/// Rows without a terminal's height and without `--limit`.
const ROWS: usize = 20;
/// Room that a route has at least, however narrow the terminal.
const NARROWEST: usize = 8;
const GAP: &str = "  ";

/// A piece of text that is padded before it is painted: colours have no width.
struct Cell {
    text: String,
    ink: Ink,
}

fn cell(text: impl Into<String>) -> Cell {
    Cell { text: text.into(), ink: Ink::Plain }
}

/// Zero is nothing to look at.
fn errors(number: u64, ink: Ink) -> Cell {
    Cell { text: grouped(number), ink: if number > 0 { ink } else { Ink::Plain } }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// All lines, the header first; `size` is the terminal's width and height.
pub fn lines(
    report: &Report<'_>,
    by_service: bool,
    palette: Palette,
    size: Option<(usize, usize)>,
) -> Vec<String> {
    let routes = report.routes.sorted(report.sort);
    let has_other = report.routes.other().total(|numbers| numbers.count) > 0;
    // Which notes there are does not depend on how many rows are shown, but for the text of one.
    let others = report.notes(0).len() + 3 + usize::from(has_other);
    let room = size.map_or(ROWS, |(_, height)| height.saturating_sub(others).max(1));
    let shown = match (report.limit, size) {
        (Some(limit), Some(_)) => limit.min(room),
        (Some(limit), None) => limit,
        (None, _) => room,
    };
    let shown = shown.min(routes.len());

    let mut rows = Vec::new();
    for (route, numbers) in &routes[..shown] {
        rows.push(row(report, by_service, Some(route), numbers));
    }
    if has_other {
        rows.push(row(report, by_service, None, report.routes.other()));
    }
    let mut lines =
        columns(header(by_service), rows, usize::from(by_service) + 1, palette, size.map(|(w, _)| w));
    lines.extend(report.notes(shown).into_iter().map(|(ink, text)| palette.paint(ink, text).to_string()));
    lines
}

fn header(by_service: bool) -> Vec<Cell> {
    let service = by_service.then_some("SERVICE");
    let rest = ["METHOD", "ROUTE", "COUNT", "RATE/S", "4XX", "ERRORS", "P50", "P99", "P99.9"];
    service.into_iter().chain(rest).map(cell).collect()
}

fn row(report: &Report<'_>, by_service: bool, route: Option<&Route>, numbers: &Windowed) -> Vec<Cell> {
    let figures = report.figures(numbers);
    let service = route.map_or("", |route| &route.service);
    let mut cells = Vec::new();
    if by_service {
        let known = if service.is_empty() && route.is_some() { "(unknown)" } else { service };
        cells.push(Cell { text: Escaped(known).to_string(), ink: Ink::Host });
    }
    match route {
        Some(route) => {
            cells.push(cell(method(route)));
            let path = if route.path.is_empty() { "-" } else { &route.path };
            cells.push(cell(Escaped(path).to_string()));
        }
        None => cells.extend([cell(""), cell("(other)")]),
    }
    let numbers = &figures.numbers;
    cells.push(cell(grouped(numbers.count)));
    cells.push(cell(figures.rate.map_or_else(|| "-".to_owned(), rate_text)));
    cells.push(errors(numbers.client_errors, Ink::Notable));
    cells.push(errors(numbers.errors, Ink::Bad));
    let shown = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), |us| latency(us.saturating_mul(1_000)));
    cells.extend(figures.latencies.map(|us| cell(shown(us))));
    cells
}

/// `GET`, `GRPC`, `DNS A`, `KAFKA produce`
fn method(route: &Route) -> String {
    let method = Escaped(&route.method);
    match route.protocol {
        Protocol::Http | Protocol::Grpc => method.to_string(),
        Protocol::Dns => format!("DNS {method}").trim_end().to_owned(),
        Protocol::Kafka => format!("KAFKA {method}").trim_end().to_owned(),
    }
}

/// Columns up to `route` are aligned left, the rest right; the one at `route` gives way where the
/// terminal is too narrow.
fn columns(
    header: Vec<Cell>,
    mut rows: Vec<Vec<Cell>>,
    route: usize,
    palette: Palette,
    terminal: Option<usize>,
) -> Vec<String> {
    rows.insert(0, header);
    let count = rows[0].len();
    let widest = |at: usize| rows.iter().map(|row| width(&row[at].text)).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..count).map(widest).collect();
    if let Some(terminal) = terminal {
        let taken = widths.iter().sum::<usize>() - widths[route] + GAP.len() * (count - 1);
        widths[route] = widths[route].min(terminal.saturating_sub(taken).max(NARROWEST));
    }
    let line = |row: Vec<Cell>| {
        let mut line = String::new();
        for (at, Cell { text, ink }) in row.into_iter().enumerate() {
            let text = shorten(text, widths[at]);
            let pad = " ".repeat(widths[at] - width(&text));
            let gap = if at == 0 { "" } else { GAP };
            let ink = if text.is_empty() { Ink::Plain } else { ink };
            let painted = palette.paint(ink, text);
            line.push_str(&match at <= route {
                true => format!("{gap}{painted}{pad}"),
                false => format!("{gap}{pad}{painted}"),
            });
        }
        line
    };
    rows.into_iter().map(line).collect()
}

/// The beginning and the end of a text that is too long: paths differ at both.
fn shorten(text: String, room: usize) -> String {
    let length = width(&text);
    if length <= room {
        return text;
    }
    let tail = (room - 1) / 2;
    let head: String = text.chars().take(room - 1 - tail).collect();
    let tail: String = text.chars().skip(length - tail).collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_routes_keep_both_ends() {
        for (text, room, expected) in
            [("/a/b", 4, "/a/b"), ("/abcdefgh", 5, "/a…gh"), ("/größe/x", 6, "/gr…/x"), ("/abc", 1, "…")]
        {
            assert_eq!(shorten(text.to_owned(), room), expected);
        }
    }
}
