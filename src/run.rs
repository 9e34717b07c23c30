//! x
/// x
pub fn main(_: std::env::ArgsOs) -> u8 {
    0
}
