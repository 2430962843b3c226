//! Text to syntax tree, and the places of words that the tree does not keep.

use sqlparser::ast::{Ident, Query, Spanned};
use sqlparser::dialect::Dialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use super::SqlFault;

/// The tree is dropped and walked by recursion: this bounds how deep a chain of operators can make it.
const MAX_WORDS: usize = 1_500;
/// The window functions that take a table as their first argument.
const OVER_A_TABLE: [&str; 4] = ["TUMBLE", "HOP", "SESSION", "CUMULATE"];

/// Names as Apache Flink has them, quoted in backticks or, as the standard says, in double quotes.
#[derive(Debug)]
struct Windows;

impl Dialect for Windows {
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"' || ch == '`'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_'
    }

    // Both are read in order to be refused by name.
    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }
}

/// The words and signs of a query, without what is only space.
pub struct Words(Vec<TokenWithSpan>);

impl Words {
    /// Where a keyword first stands outside of parentheses, or else the beginning.
    pub fn place(&self, keyword: &str) -> Location {
        let mut depth = 0_usize;
        for TokenWithSpan { token, span } in &self.0 {
            match token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                Token::Word(word) if depth == 0 && is(word, keyword) => return span.start,
                _ => {}
            }
        }
        self.start()
    }

    /// Where something of the tree stands, or else the beginning: the crate does not know the place of everything.
    pub fn of(&self, node: &impl Spanned) -> Location {
        let start = node.span().start;
        if start.line == 0 { self.start() } else { start }
    }

    /// Where the name of an expression stands, or else the expression: the crate drops the place of a name in single
    /// quotes.
    pub fn named(&self, name: &Ident, expr: &impl Spanned) -> Location {
        if name.span.start.line == 0 { self.of(expr) } else { name.span.start }
    }

    fn start(&self) -> Location {
        self.0.first().map_or(Location::new(1, 1), |first| first.span.start)
    }

    fn end(&self) -> Location {
        self.0.last().map_or(Location::new(1, 1), |last| last.span.end)
    }
}

fn is(word: &sqlparser::tokenizer::Word, keyword: &str) -> bool {
    word.quote_style.is_none() && word.value.eq_ignore_ascii_case(keyword)
}

pub fn fault(at: Location, what: impl Into<String>, remedy: impl Into<String>) -> SqlFault {
    SqlFault { line: at.line as usize, column: at.column as usize, what: what.into(), remedy: remedy.into() }
}

pub fn parse(sql: &str) -> Result<(Query, Words), SqlFault> {
    let tokens = Tokenizer::new(&Windows, sql).tokenize_with_location().map_err(|error| {
        let at = error.location;
        fault(at, lowercase(&error.message), "text is quoted 'like this', an odd name \"like this\"")
    })?;
    let mut tokens: Vec<_> =
        tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF)).collect();
    if let Some(beyond) = tokens.get(MAX_WORDS) {
        let what = format!("the query has {} words and signs", tokens.len());
        return Err(fault(beyond.span.start, what, format!("up to {MAX_WORDS} are supported")));
    }
    let Some(first) = tokens.first() else {
        return Err(fault(Location::new(1, 1), "there is no query", "write SELECT … FROM readings GROUP BY …"));
    };
    if !matches!(&first.token, Token::Word(word) if is(word, "SELECT") || is(word, "WITH")) {
        return Err(fault(first.span.start, format!("`{}` begins no query", first.token), "a window is one SELECT"));
    }
    drop_inner_table(&mut tokens)?;
    let words = Words(tokens);
    let mut parser = Parser::new(&Windows).with_tokens_with_locations(words.0.clone());
    let query = parser.parse_query().map_err(|error| syntax(&error, &words))?;
    while parser.consume_token(&Token::SemiColon) {}
    let next = parser.peek_token();
    match &next.token {
        Token::EOF => Ok((*query, words)),
        more => Err(fault(next.span.start, format!("`{more}` is not expected here"), hint(more))),
    }
}

/// The grammar of the crate has no `TABLE readings` as an argument: the word goes, the places of the others stay.
fn drop_inner_table(tokens: &mut Vec<TokenWithSpan>) -> Result<(), SqlFault> {
    let word = |at: usize| match tokens.get(at).map(|token| &token.token) {
        Some(Token::Word(word)) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
        Some(Token::LParen) => "(".to_owned(),
        _ => String::new(),
    };
    let found = (0..tokens.len())
        .find(|&at| OVER_A_TABLE.contains(&word(at).as_str()) && word(at + 1) == "(" && word(at + 2) == "TABLE");
    let Some(at) = found else { return Ok(()) };
    if word(at) == "SESSION" {
        let what = "SESSION over a table is not supported";
        let remedy = "write FROM readings GROUP BY device, SESSION(time, INTERVAL '5' MINUTE)";
        return Err(fault(tokens[at].span.start, what, remedy));
    }
    tokens.remove(at + 2);
    Ok(())
}

/// The crate's sentence in ours, and the place at its end as a place.
fn syntax(error: &ParserError, words: &Words) -> SqlFault {
    let message = match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
        ParserError::RecursionLimitExceeded => {
            return fault(words.start(), "the query is nested too deeply", "up to some 20 levels are supported");
        }
    };
    let place = |message: &str| {
        let (sentence, place) = message.rsplit_once(" at Line: ")?;
        let (line, column) = place.split_once(", Column: ")?;
        Some((sentence.to_owned(), Location::new(line.parse().ok()?, column.parse().ok()?)))
    };
    let (sentence, at) = place(message).unwrap_or_else(|| (message.clone(), words.end()));
    let sentence = sentence.replacen("Expected: ", "expected ", 1).replacen(", found: EOF", " before the end", 1);
    let sentence = sentence.replacen("found: ", "found ", 1);
    let found = words.0.iter().find(|token| token.span.start == at);
    fault(at, lowercase(&sentence), found.map_or(CLAUSES, |found| hint(&found.token)))
}

const CLAUSES: &str =
    "a query is SELECT … FROM readings WHERE … GROUP BY …, TUMBLE(time, INTERVAL '1' MINUTE) HAVING …";

/// What may have been meant by a word that is in the way.
fn hint(token: &Token) -> &'static str {
    match token {
        Token::Word(word) if word.keyword != Keyword::NoKeyword => {
            "a field that is called like a word of SQL is quoted: \"end\""
        }
        Token::SemiColon => "a window is one SELECT",
        _ => CLAUSES,
    }
}

fn lowercase(sentence: &str) -> String {
    let mut chars = sentence.chars();
    // A keyword at the beginning stays one.
    match (chars.next(), sentence.chars().nth(1)) {
        (Some(first), Some(second)) if !second.is_uppercase() => first.to_lowercase().chain(chars).collect(),
        _ => sentence.to_owned(),
    }
}
