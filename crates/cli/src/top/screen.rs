//! Where tables go: redrawn in place on a terminal, one after the other elsewhere.

use std::io::{self, IsTerminal, Write};

use terminal_size::{Height, Width, terminal_size_of};

/// Lines above the cursor belong to the last frame, and the next one is written over them.
pub struct Screen<W: Write> {
    out: W,
    in_place: bool,
    /// Lines of the last frame.
    drawn: usize,
    size: Option<(usize, usize)>,
}

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
/// A line that is too long is cut, not continued: continuations would not be counted.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";
const CLEAR: &str = "\x1b[2J\x1b[H";
const CLEAR_LINE_END: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// Whether standard output is a terminal that can be drawn on.
pub fn stdout_is_a_screen() -> bool {
    io::stdout().is_terminal()
        && std::env::var_os("TERM").is_some_and(|term| term != "dumb" && !term.is_empty())
}

/// Width and height of the terminal that standard output is.
pub fn stdout_size() -> Option<(usize, usize)> {
    let (Width(width), Height(height)) = terminal_size_of(io::stdout())?;
    (width > 0 && height > 0).then_some((width.into(), height.into()))
}

impl<W: Write> Screen<W> {
    pub fn new(out: W, in_place: bool) -> Self {
        Self { out, in_place, drawn: 0, size: None }
    }

    pub fn is_in_place(&self) -> bool {
        self.in_place
    }

    /// Shows a frame. `size` is the terminal's.
    pub fn show(&mut self, lines: &[String], size: Option<(usize, usize)>) -> io::Result<()> {
        let mut text = String::new();
        if !self.in_place {
            if self.drawn > 0 {
                text.push('\n');
            }
            for line in lines {
                text.push_str(line.trim_end());
                text.push('\n');
            }
        } else {
            text.push_str(HIDE_CURSOR);
            text.push_str(NO_WRAP);
            // After a change of size nobody knows where the old lines are.
            if self.drawn > 0 && size != self.size {
                text.push_str(CLEAR);
            } else if self.drawn > 0 {
                text.push_str(&format!("\r\x1b[{}A", self.drawn));
            }
            for line in lines {
                text.push_str(line);
                text.push_str(CLEAR_LINE_END);
                text.push_str("\r\n");
            }
            text.push_str(CLEAR_BELOW);
            text.push_str(WRAP);
        }
        (self.drawn, self.size) = (lines.len(), size);
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Writes a line that stays.
    pub fn line(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{line}")?;
        self.out.flush()
    }
}

impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        if self.in_place && self.drawn > 0 {
            let _ = self.out.write_all(SHOW_CURSOR.as_bytes()).and_then(|()| self.out.flush());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames as their lines and the width of the terminal.
    fn frames<const N: usize>(in_place: bool, frames: [(&str, usize); N]) -> String {
        let mut out = Vec::new();
        let mut screen = Screen::new(&mut out, in_place);
        for (lines, width) in frames {
            let lines: Vec<String> = lines.lines().map(str::to_owned).collect();
            screen.show(&lines, Some((width, 24))).unwrap();
        }
        drop(screen);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_file_gets_tables_with_a_blank_line_between() {
        assert_eq!(frames(false, [("A  \n1", 80), ("A\n2", 80)]), "A\n1\n\nA\n2\n");
    }

    #[test]
    fn a_terminal_is_drawn_over_and_gets_its_cursor_back() {
        let text = frames(true, [("A\n1", 80), ("A", 80), ("A", 70)]);
        let shown =
            text.replace("\x1b[?25l\x1b[?7l", "<").replace("\x1b[J\x1b[?7h", ">").replace("\x1b[K\r\n", "/");
        assert_eq!(shown, "<A/1/><\r\x1b[2AA/><\x1b[2J\x1b[HA/>\x1b[?25h");
    }
}
