//! The program `moodle-backup`: hands the command line to the library and leaves with its exit code.
//! Nothing else belongs here.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(moodle_backup::run::main(std::env::args_os()))
}
