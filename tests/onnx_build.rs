//! Small ONNX files, node by node.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};
use tract_onnx::prelude::*;

/// Name of a graph's output.
pub const OUTPUT: &str = "output";

/// What a node is told.
#[derive(Clone, Copy)]
pub enum Attribute<'a> {
    Int(i64),
    Ints(&'a [i64]),
    Float(f32),
    Text(&'a str),
}

/// A graph with one input, `x`.
pub struct Graph {
    graph: GraphProto,
}

impl Graph {
    pub fn new(dims: &[i64]) -> Self {
        let mut graph = GraphProto { name: "test".to_owned(), ..GraphProto::default() };
        graph.input.push(info("x", dims));
        Self { graph }
    }

    /// Adds a node; returns the name of its output.
    pub fn node(&mut self, kind: &str, inputs: &[&str], attributes: &[(&str, Attribute<'_>)]) -> String {
        let name = format!("{}{}", kind.to_lowercase(), self.graph.node.len());
        self.named(kind, &name, inputs, attributes)
    }

    pub fn named(&mut self, kind: &str, name: &str, inputs: &[&str], attributes: &[(&str, Attribute<'_>)]) -> String {
        let attribute = attributes.iter().map(|(name, attribute)| proto(name, *attribute)).collect();
        self.graph.node.push(NodeProto {
            op_type: kind.to_owned(),
            name: name.to_owned(),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.to_owned()],
            attribute,
            ..NodeProto::default()
        });
        name.to_owned()
    }

    fn constant(&mut self, dims: &[i64], kind: DataType, raw_data: Vec<u8>) -> String {
        let name = format!("constant{}", self.graph.initializer.len());
        self.graph.initializer.push(TensorProto {
            name: name.clone(),
            dims: dims.to_vec(),
            data_type: kind as i32,
            raw_data,
            ..TensorProto::default()
        });
        name
    }

    pub fn floats(&mut self, dims: &[i64], values: &[f32]) -> String {
        self.constant(dims, DataType::Float, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    pub fn ints(&mut self, dims: &[i64], values: &[i64]) -> String {
        self.constant(dims, DataType::Int64, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    pub fn random(&mut self, dims: &[i64], rng: &mut ChaCha8Rng) -> String {
        let values: Vec<f32> = (0..dims.iter().product::<i64>()).map(|_| rng.random_range(-0.5..0.5)).collect();
        self.floats(dims, &values)
    }

    /// The file, whose output is `value`.
    pub fn finish(mut self, value: &str, opset: i64) -> ModelProto {
        self.named("Identity", OUTPUT, &[value], &[]);
        self.graph.output.push(ValueInfoProto { name: OUTPUT.to_owned(), ..ValueInfoProto::default() });
        ModelProto {
            ir_version: 8,
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: opset }],
            graph: Some(self.graph),
            ..ModelProto::default()
        }
    }
}

fn proto(name: &str, attribute: Attribute<'_>) -> AttributeProto {
    let named = AttributeProto { name: name.to_owned(), ..AttributeProto::default() };
    match attribute {
        Attribute::Int(i) => AttributeProto { r#type: AttributeType::Int as i32, i, ..named },
        Attribute::Ints(ints) => AttributeProto { r#type: AttributeType::Ints as i32, ints: ints.to_vec(), ..named },
        Attribute::Float(f) => AttributeProto { r#type: AttributeType::Float as i32, f, ..named },
        Attribute::Text(text) => {
            AttributeProto { r#type: AttributeType::String as i32, s: text.as_bytes().to_vec(), ..named }
        }
    }
}

fn info(name: &str, dims: &[i64]) -> ValueInfoProto {
    let side = |&n: &i64| Dimension { value: Some(dimension::Value::DimValue(n)), ..Dimension::default() };
    let shape = TensorShapeProto { dim: dims.iter().map(side).collect() };
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(shape) };
    let r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() });
    ValueInfoProto { name: name.to_owned(), r#type, ..ValueInfoProto::default() }
}

/// What tract makes of values in the file's own order.
pub fn run_tract(model: &ModelProto, values: &[f32]) -> Vec<f32> {
    let plan = onnx().parse(model, None).unwrap().model.into_optimized().unwrap().into_runnable().unwrap();
    let shape = plan.model().input_fact(0).unwrap().shape.as_concrete().unwrap().to_vec();
    let input = Tensor::from_shape(&shape, values).unwrap().into_tvalue();
    let outputs = plan.run(tvec!(input)).unwrap();
    outputs[0].try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec()
}
