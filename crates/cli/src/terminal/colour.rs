//! Colours by meaning.

use std::fmt::{self, Display};
use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;

/// `--color`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    #[default]
    Auto,
    Always,
    Never,
}

impl When {
    /// Whether to colour standard output: by choice, else when it is a terminal that can and
    /// `NO_COLOR` (https://no-color.org) is unset or empty.
    pub fn for_stdout(self) -> bool {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match self {
            When::Always => true,
            When::Never => false,
            When::Auto => {
                std::io::stdout().is_terminal()
                    && !set("NO_COLOR")
                    && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        }
    }
}

/// What a piece of text is, as far as its colour goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    Plain,
    Host,
    Port,
    Identity,
    /// Something passed.
    Good,
    /// Something was refused, lost or broken.
    Bad,
    /// Worth a look.
    Notable,
}

impl Ink {
    fn style(self) -> Style {
        let colour = match self {
            Ink::Plain => return Style::new(),
            Ink::Host => AnsiColor::Cyan,
            Ink::Port | Ink::Notable => AnsiColor::Yellow,
            Ink::Identity => AnsiColor::Magenta,
            Ink::Good => AnsiColor::Green,
            Ink::Bad => AnsiColor::Red,
        };
        colour.on_default()
    }
}

/// Paints, or leaves text as it is.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    pub on: bool,
}

impl Palette {
    pub fn paint<T: Display>(self, ink: Ink, text: T) -> Painted<T> {
        Painted { style: if self.on { ink.style() } else { Style::new() }, text }
    }
}

/// Text in its colour.
pub struct Painted<T> {
    style: Style,
    text: T,
}

impl<T: Display> Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.style.render(), self.text, self.style.render_reset())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn painting_wraps_and_resets_and_is_nothing_when_off() {
        let on = Palette { on: true };
        assert_eq!(on.paint(Ink::Bad, "DROPPED").to_string(), "\x1b[31mDROPPED\x1b[0m");
        assert_eq!(on.paint(Ink::Plain, "x").to_string(), "x");
        assert_eq!(Palette { on: false }.paint(Ink::Bad, "DROPPED").to_string(), "DROPPED");
    }
}
