//! The real binary, started as an operator starts it.

mod command_line;
mod lifecycle;
mod process;
