//! Second stage: tokens to syntax.
//!
//! Here clauses, paths and the bounds of a text; expressions are in [`expression`].

mod expression;

use super::ast::{
    Aggregate, Column, Direction, Item, PathExpr, Select, Selection, SourceName, Targets,
    is_reserved,
};
use super::error::{QueryError, Span, quote};
use super::lexer::{Lexer, Symbol, Token};
use super::limits::{NESTING_MAX, NODES_MAX, TEXT_BYTES_MAX};

/// Parses a whole query.
pub(super) fn parse_select(text: &str) -> Result<Select, QueryError> {
    let mut parser = Parser::new(text)?;
    parser.expect_keyword("SELECT")?;
    let distinct = parser.span;
    let distinct = parser.take_keyword("DISTINCT")?.then_some(distinct);
    let top = if parser.take_keyword("TOP")? {
        Some(parser.count()?)
    } else {
        None
    };
    let selection = parser.selection()?;
    parser.expect_keyword("FROM")?;
    let source = parser.source()?;
    let filter = if parser.take_keyword("WHERE")? {
        Some(parser.expression()?)
    } else {
        None
    };
    let group_by = parser.group_by()?;
    let order_by = parser.order_by()?;
    parser.expect_end("the end of the query")?;
    Ok(Select {
        distinct,
        top,
        selection,
        source,
        filter,
        group_by,
        order_by,
    })
}

/// Parses a condition: `*`, an expression, or either behind `FROM source WHERE`. compat: QUERY-1
pub(super) fn parse_targets(text: &str) -> Result<Targets, QueryError> {
    let mut parser = Parser::new(text)?;
    if parser.token == Token::End {
        return Err(parser.fault("The condition is empty, '*' selects every device"));
    }
    if parser.at_keyword("SELECT") {
        return Err(parser.fault(
            "A condition is only the part after WHERE of a query, 'SELECT' cannot stand in it",
        ));
    }
    let mut source = None;
    let mut filtered = true;
    if parser.take_keyword("FROM")? {
        source = Some(parser.source()?);
        filtered = parser.take_keyword("WHERE")?;
    } else if parser.at_keyword("WHERE") {
        return Err(parser.fault("A condition is the part after WHERE, without the word itself"));
    }
    let filter = if !filtered || parser.take_symbol(Symbol::Star)? {
        None
    } else {
        Some(parser.expression()?)
    };
    parser.expect_end("the end of the condition")?;
    Ok(Targets { source, filter })
}

struct Parser<'t> {
    text: &'t str,
    lexer: Lexer<'t>,
    token: Token<'t>,
    span: Span,
    /// Open brackets, prefix operators and right sides around the current token.
    depth: u32,
    nodes: usize,
    list_items: usize,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Result<Self, QueryError> {
        if text.len() > TEXT_BYTES_MAX {
            let message = format!(
                "The text has {} bytes, {TEXT_BYTES_MAX} are allowed",
                text.len()
            );
            return Err(QueryError::new(text, Span::default(), message));
        }
        let mut lexer = Lexer::new(text);
        let (token, span) = lexer.next_token()?;
        Ok(Self {
            text,
            lexer,
            token,
            span,
            depth: 0,
            nodes: 0,
            list_items: 0,
        })
    }

    // --- clauses

    fn selection(&mut self) -> Result<Selection, QueryError> {
        if self.take_symbol(Symbol::Star)? {
            return Ok(Selection::All);
        }
        let mut items = vec![self.item()?];
        while self.take_symbol(Symbol::Comma)? {
            items.push(self.item()?);
        }
        Ok(Selection::Items(items))
    }

    fn item(&mut self) -> Result<Item, QueryError> {
        let mut item = self.column("'*', a path or an aggregate")?;
        if self.take_keyword("AS")? {
            item.alias = Some(self.name("a name after AS")?);
        }
        Ok(item)
    }

    /// A path or an aggregate, without an alias.
    fn column(&mut self, expected: &str) -> Result<Item, QueryError> {
        let span = self.span;
        let column = match self.token {
            Token::Word(word) if !is_reserved(word) => {
                self.advance()?;
                if self.take_symbol(Symbol::Open)? {
                    self.aggregate(word, span)?
                } else {
                    Column::Path(self.path_from(word, span)?)
                }
            }
            _ => Column::Path(self.path(expected)?),
        };
        Ok(Item {
            column,
            alias: None,
            span,
        })
    }

    /// The rest of `NAME( ... )` after SELECT or ORDER BY, behind its bracket.
    fn aggregate(&mut self, name: &str, span: Span) -> Result<Column, QueryError> {
        let known = Aggregate::ALL
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        let Some(&(_, aggregate)) = known else {
            let message = format!(
                "Only paths and aggregates can be selected, {} is not an aggregate",
                quote(name)
            );
            return Err(QueryError::new(self.text, span, message));
        };
        let bare = aggregate == Aggregate::Count
            && (self.take_symbol(Symbol::Star)? || self.at_symbol(Symbol::Close));
        let path = if bare {
            None
        } else {
            Some(self.path("a path")?)
        };
        self.expect_symbol(Symbol::Close)?;
        Ok(Column::Aggregate(aggregate, path))
    }

    fn source(&mut self) -> Result<SourceName, QueryError> {
        let path = self.path("'devices', 'devices.modules' or 'devices.jobs'")?;
        let named = self.take_keyword("AS")?;
        let alias = match self.token {
            Token::Word(word) if named || !is_reserved(word) => {
                self.advance()?;
                Some(word.into())
            }
            _ if named => return Err(self.unexpected("a name after AS")),
            _ => None,
        };
        Ok(SourceName {
            steps: path.steps,
            alias,
            span: path.span,
        })
    }

    fn group_by(&mut self) -> Result<Vec<PathExpr>, QueryError> {
        let mut paths = Vec::new();
        if self.take_keyword("GROUP")? {
            self.expect_keyword("BY")?;
            paths.push(self.path("a path")?);
            while self.take_symbol(Symbol::Comma)? {
                paths.push(self.path("a path")?);
            }
        }
        Ok(paths)
    }

    fn order_by(&mut self) -> Result<Vec<(Item, Direction)>, QueryError> {
        let mut keys = Vec::new();
        if self.take_keyword("ORDER")? {
            self.expect_keyword("BY")?;
            loop {
                let item = self.column("a path or an aggregate")?;
                let descending = self.take_keyword("DESC")?;
                if !descending {
                    self.take_keyword("ASC")?;
                }
                let direction = if descending {
                    Direction::Descending
                } else {
                    Direction::Ascending
                };
                keys.push((item, direction));
                if !self.take_symbol(Symbol::Comma)? {
                    break;
                }
            }
        }
        Ok(keys)
    }

    /// The whole number after TOP.
    fn count(&mut self) -> Result<u64, QueryError> {
        const WHOLE_MAX: f64 = (1u64 << 52) as f64;
        match self.token {
            Token::Number(n) if n.fract() == 0.0 && n <= WHOLE_MAX => {
                self.advance()?;
                Ok(n as u64)
            }
            _ => Err(self.unexpected("a whole number after TOP")),
        }
    }

    // --- paths

    fn path(&mut self, expected: &str) -> Result<PathExpr, QueryError> {
        let span = self.span;
        match self.token {
            Token::Word(word) if !is_reserved(word) => {
                self.advance()?;
                self.path_from(word, span)
            }
            Token::Name(name) => {
                self.advance()?;
                self.path_from(name, span)
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    /// The rest of a path behind its first step.
    fn path_from(&mut self, first: &str, mut span: Span) -> Result<PathExpr, QueryError> {
        self.node()?;
        let mut steps = vec![first.into()];
        loop {
            if self.take_symbol(Symbol::Dot)? {
                span = span.to(self.span);
                steps.push(self.name("a name after '.', others than words are written ['so']")?);
            } else if self.take_symbol(Symbol::ListOpen)? {
                let Token::String(step) = &self.token else {
                    return Err(self.unexpected("a string after '[' in a path"));
                };
                steps.push(step.as_ref().into());
                self.advance()?;
                span = span.to(self.span);
                self.expect_symbol(Symbol::ListClose)?;
            } else {
                return Ok(PathExpr { steps, span });
            }
            self.node()?;
        }
    }

    /// Any word or `[[name]]`; keywords are names here. compat: QUERY-9
    fn name(&mut self, expected: &str) -> Result<Box<str>, QueryError> {
        match self.token {
            Token::Word(name) | Token::Name(name) => {
                self.advance()?;
                Ok(name.into())
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    // --- tokens and bounds

    fn advance(&mut self) -> Result<(), QueryError> {
        (self.token, self.span) = self.lexer.next_token()?;
        Ok(())
    }

    fn at_keyword(&self, keyword: &str) -> bool {
        matches!(self.token, Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn at_symbol(&self, symbol: Symbol) -> bool {
        self.token == Token::Symbol(symbol)
    }

    fn take_keyword(&mut self, keyword: &str) -> Result<bool, QueryError> {
        let there = self.at_keyword(keyword);
        if there {
            self.advance()?;
        }
        Ok(there)
    }

    fn take_symbol(&mut self, symbol: Symbol) -> Result<bool, QueryError> {
        let there = self.at_symbol(symbol);
        if there {
            self.advance()?;
        }
        Ok(there)
    }

    fn expect_keyword(&mut self, keyword: &str) -> Result<(), QueryError> {
        if self.take_keyword(keyword)? {
            Ok(())
        } else {
            Err(self.unexpected(keyword))
        }
    }

    fn expect_symbol(&mut self, symbol: Symbol) -> Result<(), QueryError> {
        if self.take_symbol(symbol)? {
            return Ok(());
        }
        Err(self.unexpected(&format!("'{symbol}'")))
    }

    fn expect_end(&self, end: &str) -> Result<(), QueryError> {
        if self.token == Token::End {
            Ok(())
        } else {
            Err(self.unexpected(end))
        }
    }

    fn node(&mut self) -> Result<(), QueryError> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            let message = format!("More than {NODES_MAX} operators and values, lists take more");
            return Err(self.fault(message));
        }
        Ok(())
    }

    fn check_nesting(&self, levels: u32) -> Result<(), QueryError> {
        if levels > NESTING_MAX {
            return Err(self.fault(format!("Nested deeper than {NESTING_MAX} levels")));
        }
        Ok(())
    }

    fn unexpected(&self, expected: &str) -> QueryError {
        let shown = match &self.token {
            Token::End => "end of the text".to_owned(),
            Token::String(s) => format!("string {}", quote(s)),
            _ => quote(&self.text[self.span.start as usize..self.span.end as usize]),
        };
        self.fault(format!("Unexpected {shown}, expected {expected}"))
    }

    fn fault(&self, message: impl Into<String>) -> QueryError {
        QueryError::new(self.text, self.span, message)
    }
}
