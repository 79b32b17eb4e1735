//! What the reader of .onnx files asks of the parts of the host that need Burn or tract.

pub mod check {
    pub mod tract {
        /// Whether tract takes a model: here nobody knows.
        pub fn is_runnable(_: &tract_onnx::pb::ModelProto) -> bool {
            false
        }
    }
}

pub mod train {
    /// An input of a few layers, as in the host.
    pub struct FragmentInput {
        pub shape: ocelli::ir::Shape,
        pub values: Vec<f32>,
    }
}
