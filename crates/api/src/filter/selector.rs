//! `*_label` and `node_labels`: the Kubernetes label selector grammar
//! (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>),
//! with label sources: `k8s:app=web, reserved:host, tier in (a, b), !canary, size>3`.

/// Requirements that must all hold; none hold on every set of labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    /// `None` = any source: what a key without one, or `any:`, asks for.
    source: Option<String>,
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Missing,
    In(Vec<String>),
    /// Holds as well where the label is missing.
    NotIn(Vec<String>),
    Greater(i64),
    Less(i64),
}

impl Selector {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { rest: text };
        let fail = |problem: String| format!("{text:?} is not a label selector: {problem}");
        let mut requirements = Vec::new();
        if parser.peek() == Token::End {
            return Ok(Self(requirements));
        }
        loop {
            requirements.push(parser.requirement().map_err(fail)?);
            match parser.next() {
                Token::End => return Ok(Self(requirements)),
                Token::Symbol(",") => {}
                other => return Err(fail(format!("expected ',' before {other}"))),
            }
        }
    }

    /// `labels` is asked for once per requirement; each as `source:key=value` or `key=value`.
    pub(super) fn matches<'a, I: Iterator<Item = &'a str>>(&self, labels: impl Fn() -> I) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels()))
    }
}

impl Requirement {
    fn matches<'a>(&self, labels: impl Iterator<Item = &'a str>) -> bool {
        let mut values = labels.filter_map(|label| self.value_of(label));
        match &self.test {
            Test::Exists => values.next().is_some(),
            Test::Missing => values.next().is_none(),
            Test::In(wanted) => values.any(|value| wanted.iter().any(|w| w == value)),
            Test::NotIn(unwanted) => !values.any(|value| unwanted.iter().any(|u| u == value)),
            Test::Greater(than) => values.any(|value| value.parse::<i64>().is_ok_and(|value| value > *than)),
            Test::Less(than) => values.any(|value| value.parse::<i64>().is_ok_and(|value| value < *than)),
        }
    }

    /// The label's value, when it has this key and source.
    fn value_of<'a>(&self, label: &'a str) -> Option<&'a str> {
        let (name, value) = label.split_once('=').unwrap_or((label, ""));
        let (source, key) = name.split_once(':').unwrap_or(("", name));
        (key == self.key && self.source.as_ref().is_none_or(|wanted| wanted == source)).then_some(value)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    End,
    /// One of `! = == != > < , ( )`.
    Symbol(&'a str),
    Word(&'a str),
}

impl std::fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::End => f.write_str("the end"),
            Self::Symbol(text) | Self::Word(text) => write!(f, "{text:?}"),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

const SYMBOLS: [char; 7] = ['!', '=', '>', '<', ',', '(', ')'];

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        let text = self.rest.trim_start();
        let Some(first) = text.chars().next() else { return Token::End };
        if SYMBOLS.contains(&first) {
            let len = if text.starts_with("==") || text.starts_with("!=") { 2 } else { 1 };
            return Token::Symbol(&text[..len]);
        }
        let end = text.find(|c: char| SYMBOLS.contains(&c) || c.is_whitespace()).unwrap_or(text.len());
        Token::Word(&text[..end])
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        if let Token::Symbol(text) | Token::Word(text) = token {
            self.rest = &self.rest.trim_start()[text.len()..];
        }
        token
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let negated = self.peek() == Token::Symbol("!");
        if negated {
            self.next();
        }
        let (source, key) = self.key()?;
        let test = if negated { Test::Missing } else { self.test()? };
        Ok(Requirement { source, key, test })
    }

    fn key(&mut self) -> Result<(Option<String>, String), String> {
        let word = match self.next() {
            Token::Word(word) => word,
            other => return Err(format!("expected a key before {other}")),
        };
        let (source, key) = word.split_once(':').unwrap_or(("any", word));
        if key.is_empty() {
            return Err(format!("{word:?} has no key"));
        }
        Ok(((source != "any").then(|| source.to_owned()), key.to_owned()))
    }

    fn test(&mut self) -> Result<Test, String> {
        match self.peek() {
            Token::End | Token::Symbol(",") => return Ok(Test::Exists),
            _ => {}
        }
        match self.next() {
            Token::Symbol("=" | "==") => Ok(Test::In(vec![self.value()?])),
            Token::Symbol("!=") => Ok(Test::NotIn(vec![self.value()?])),
            Token::Symbol(">") => Ok(Test::Greater(self.number()?)),
            Token::Symbol("<") => Ok(Test::Less(self.number()?)),
            Token::Word("in") => Ok(Test::In(self.values()?)),
            Token::Word("notin") => Ok(Test::NotIn(self.values()?)),
            other => Err(format!("expected one of = == != > < in notin, found {other}")),
        }
    }

    /// A value; a missing one is the empty string.
    fn value(&mut self) -> Result<String, String> {
        let Token::Word(word) = self.peek() else { return Ok(String::new()) };
        self.next();
        let alphanumeric_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let valid = word.len() <= 63
            && word.chars().all(allowed)
            && alphanumeric_end(word.chars().next())
            && alphanumeric_end(word.chars().next_back());
        if valid { Ok(word.to_owned()) } else { Err(format!("{word:?} can't be the value of a label")) }
    }

    fn number(&mut self) -> Result<i64, String> {
        let token = self.next();
        let Token::Word(word) = token else { return Err(format!("expected a whole number before {token}")) };
        word.parse().map_err(|_| format!("{word:?} is not a whole number"))
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        match self.next() {
            Token::Symbol("(") => {}
            other => return Err(format!("expected '(' before {other}")),
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value()?);
            match self.next() {
                Token::Symbol(",") => {}
                Token::Symbol(")") => return Ok(values),
                other => return Err(format!("expected ',' or ')' before {other}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LABELS: [&str; 5] =
        ["k8s:app=web", "k8s:tier=front", "k8s:size=5", "reserved:host", "cidr:10.0.0.0/8"];

    fn matches(selector: &str) -> bool {
        Selector::parse(selector).unwrap().matches(|| LABELS.into_iter())
    }

    #[test]
    fn every_operator_holds_where_it_should() {
        for holds in [
            "",
            "app",
            "app=web",
            "app==web",
            "app = web",
            "app!=db",
            "missing!=x",
            "!missing",
            "! missing",
            "app in (web, db)",
            "app notin (db,api)",
            "missing notin (a)",
            "size>4",
            "size < 6",
            "k8s:app=web",
            "any:app=web",
            "reserved:host",
            "host",
            "cidr:10.0.0.0/8",
            "app=web,tier in (front),!canary",
            "host=",
            "host in ()",
            "in in (x), app",
        ] {
            // A key may be called like an operator.
            assert_eq!(matches(holds), !holds.starts_with("in in"), "{holds}");
        }
    }

    #[test]
    fn and_does_not_hold_where_it_should_not() {
        for fails in [
            "missing",
            "app=db",
            "!app",
            "app!=web",
            "app in (db)",
            "app notin (web)",
            "size>5",
            "size<5",
            "app>1",
            "reserved:app",
            "other:app=web",
            "app=web,tier=back",
            "app=",
            "missing=",
            "missing>0",
        ] {
            assert!(!matches(fails), "{fails}");
        }
    }

    #[test]
    fn malformed_selectors_are_refused_with_their_text() {
        for text in [
            ",",
            "app,",
            "=web",
            "app=web tier=x",
            "app in web",
            "app in (a",
            "app in (a b)",
            "!app=web",
            "app>x",
            "app>",
            "k8s:",
            "app=a/b",
            "app=-a",
            "(app)",
            "app!web",
            "app!=a=b",
            "app in (a))",
        ] {
            let error = Selector::parse(text).unwrap_err();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
        assert!(Selector::parse(&format!("a={}", "x".repeat(64))).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[ -~äé]{0,40}") {
            if let Ok(selector) = Selector::parse(&text) {
                selector.matches(|| LABELS.into_iter());
            }
        }
    }
}
