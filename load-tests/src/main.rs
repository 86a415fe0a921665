//! `madang-load`: calls of thousands of participants, against Madang and other servers.

mod adapter;
mod cli;
mod compare;
mod evaluate;
mod floors;
mod media;
mod print;
mod process;
mod report;
mod result;
mod run;
mod scenario;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print::error(&error);
            ExitCode::FAILURE
        }
    }
}
