//! Shows jobs while they are followed: drawn over and over on a terminal, a line for each change elsewhere.

use std::io::{IsTerminal as _, stderr, stdout};
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::follow::Standing;
use super::paint::Paint;
use super::screen::Screen;
use super::view;
use crate::diagnostic::say;

/// Pause between two looks of a terminal; faster than the eye follows.
const DRAW_EVERY: Duration = Duration::from_millis(125);
/// Least time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Jobs that are shown together.
#[derive(Debug)]
pub(crate) struct Board {
    seats: Vec<watch::Receiver<Standing>>,
    began: Instant,
    paint: Paint,
    surface: Surface,
}

/// What is written on.
#[derive(Debug)]
enum Surface {
    Terminal(Screen),
    /// The last line of each seat.
    Lines(Vec<String>),
    Nothing,
}

impl Board {
    /// A board on standard error. `documents` says that progress goes to standard
    /// output as documents, which a terminal cannot show beside a picture.
    pub(crate) fn new(seats: Vec<watch::Receiver<Standing>>, documents: bool) -> Self {
        let paint = Paint::when(AutoStream::choice(&stderr()) != ColorChoice::Never);
        let surface = match Screen::new() {
            Some(_) if documents && stdout().is_terminal() => Surface::Nothing,
            Some(screen) => Surface::Terminal(screen),
            None if documents => Surface::Nothing,
            None => Surface::Lines(vec![String::new(); seats.len()]),
        };
        Self {
            seats,
            began: Instant::now(),
            paint,
            surface,
        }
    }

    /// Shows the jobs until it is dropped. Cancel-safe.
    pub(crate) async fn run(&mut self) {
        let every = match self.surface {
            Surface::Terminal(_) => DRAW_EVERY,
            Surface::Lines(_) | Surface::Nothing => LINE_EVERY,
        };
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut resized = signal(SignalKind::window_change()).ok();
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                // Drawn anew at once: a folded picture is ugly.
                Some(()) = async { resized.as_mut()?.recv().await } => {}
            }
            self.show();
        }
    }

    fn show(&mut self) {
        let now = self.began.elapsed();
        match &mut self.surface {
            Surface::Terminal(screen) => {
                let width = usable_width(screen);
                let frames = self
                    .seats
                    .iter()
                    .map(|seat| view::frame(&seat.borrow(), now, width, self.paint));
                screen.draw(stacked(frames));
            }
            Surface::Lines(shown) => {
                for (seat, shown) in self.seats.iter().zip(shown) {
                    say_change(&seat.borrow(), shown, self.paint);
                }
            }
            Surface::Nothing => {}
        }
    }

    /// Shows how all ended (or where they stand now); it stays on the screen.
    pub(crate) fn finish(&mut self) {
        let now = self.began.elapsed();
        match &mut self.surface {
            Surface::Terminal(screen) => {
                let width = usable_width(screen);
                let frames = self.seats.iter().map(|seat| {
                    let at = seat.borrow();
                    if at.is_over {
                        view::ended(&at, width, self.paint)
                    } else {
                        view::frame(&at, now, width, self.paint)
                    }
                });
                screen.leave(stacked(frames));
            }
            Surface::Lines(shown) => {
                for (seat, shown) in self.seats.iter().zip(shown) {
                    say_change(&seat.borrow(), shown, self.paint);
                }
            }
            Surface::Nothing => {}
        }
    }
}

/// Width of what is not drawn on a terminal; lines are cut nowhere near it.
const LINE_WIDTH: usize = 400;

/// The last column stays free: terminals do not agree on where the cursor is once it is written.
fn usable_width(screen: &Screen) -> usize {
    screen.size().columns.saturating_sub(1)
}

/// Frames below each other; those of several lines with a line between.
fn stacked(frames: impl Iterator<Item = Vec<String>>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for frame in frames {
        if !lines.is_empty() && (frame.len() > 1 || lines.len() > 1) {
            lines.push(String::new());
        }
        lines.extend(frame);
    }
    lines
}

/// Says where a job stands if that is not what was `shown`, and once how it ended.
fn say_change(at: &Standing, shown: &mut String, paint: Paint) {
    let lines = if at.is_over {
        view::ended(at, LINE_WIDTH, paint)
    } else if at.status.is_terminal() {
        // Why devices failed is still being asked.
        return;
    } else {
        vec![view::plain(at)]
    };
    let text = lines.join("\n");
    if text != *shown && at.has_been_heard_of() {
        say(&text);
        *shown = text;
    }
}
