//! Text that came over the network, made harmless for a terminal.
//!
//! Host names, URLs, DNS names and server messages can be chosen by whoever sends the traffic. An
//! escape sequence in one could repaint the screen, a line break could forge a line, and a
//! bidirectional override could make a name read backwards.

use std::fmt::{self, Write};

/// Text shown with every control character spelled out: ESC as `^[`, CR as `\r`, LF as `\n`, TAB as
/// `\t`, others as `\x07` or `\u{202e}`.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut plain = 0;
        for (at, c) in self.0.char_indices().filter(|(_, c)| is_harmful(*c)) {
            f.write_str(&self.0[plain..at])?;
            match c {
                '\x1b' => f.write_str("^[")?,
                '\r' => f.write_str("\\r")?,
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                c if c.is_ascii() => write!(f, "\\x{:02x}", c as u32)?,
                c => write!(f, "\\u{{{:x}}}", c as u32)?,
            }
            plain = at + c.len_utf8();
        }
        f.write_str(&self.0[plain..])
    }
}

/// Several escaped texts with a separator between them.
pub fn join(texts: &[String], separator: &str) -> String {
    let mut joined = String::new();
    for (i, text) in texts.iter().enumerate() {
        let gap = if i == 0 { "" } else { separator };
        // Writing to a String cannot fail.
        let _ = write!(joined, "{gap}{}", Escaped(text));
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_spelled_out_and_the_rest_stays() {
        for (text, shown) in [
            ("chat-relay-7", "chat-relay-7"),
            ("größe/日本", "größe/日本"),
            ("\x1b[2Jgone\r", "^[[2Jgone\\r"),
            ("a\nDROPPED\t", "a\\nDROPPED\\t"),
            ("bell\x07 del\x7f", "bell\\x07 del\\x7f"),
            ("csi\u{9b}31m rlo\u{202e}x", "csi\\u{9b}31m rlo\\u{202e}x"),
        ] {
            assert_eq!(Escaped(text).to_string(), shown);
        }
    }
}
