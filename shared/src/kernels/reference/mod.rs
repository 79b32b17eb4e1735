//! The plainest loops that state each operator's arithmetic. Fast kernels are checked against these, byte for byte.

mod conv2d;
mod dense;
mod elementwise;
mod global;
mod nibbles;
mod pool;
mod softmax;

pub use conv2d::{conv2d_row, depthwise_conv2d_row};
pub use dense::{dense_accumulate, dense_finish};
pub use elementwise::{concat_row, lookup_row, mul_row, pad_row};
pub use global::{average_finish, max_row, mean_finish, sum_row};
pub use nibbles::{dense_accumulate_nibbles, nibble};
pub use pool::{average_pool2d_row, max_pool2d_row, min_pool2d_row};
pub use softmax::{SoftmaxScale, softmax_row};
