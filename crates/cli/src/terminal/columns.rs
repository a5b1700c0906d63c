//! Aligned columns, in the shape of Go's tabwriter with minimum width 2 and padding 3: each column
//! is as wide as its widest cell, the last one is not padded.

use std::io::{self, Write};

/// Rows collected until their widths are known.
#[derive(Debug, Default)]
pub struct Columns {
    rows: Vec<Vec<String>>,
}

const PADDING: usize = 3;

impl Columns {
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes all rows, each line preceded by `indent`.
    pub fn write(&self, out: &mut impl Write, indent: &str) -> io::Result<()> {
        let width = |text: &str| text.chars().count();
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|at| {
                self.rows.iter().filter_map(|row| row.get(at)).map(|cell| width(cell)).max().unwrap_or(0)
            })
            .collect();
        for row in &self.rows {
            let mut line = String::from(indent);
            for (at, cell) in row.iter().enumerate() {
                line.push_str(cell);
                if at + 1 < row.len() {
                    line.extend(std::iter::repeat_n(' ', widths[at] - width(cell) + PADDING));
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_have_no_tail() {
        let mut columns = Columns::default();
        columns.row(["NAME", "AGE", "X"]);
        columns.row(["größe-1", "5s", ""]);
        let mut out = Vec::new();
        columns.write(&mut out, "  ").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "  NAME      AGE   X\n  größe-1   5s\n");
    }
}
