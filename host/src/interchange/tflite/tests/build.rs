//! Writes small .tflite files with the `flatbuffers` crate, so that the reader is held to another implementation of the format. Numbers
//! of fields are written out here once more, not taken from the reader's list.

use flatbuffers::{FlatBufferBuilder, Push, TableFinishedWIPOffset, WIPOffset};

type Builder = FlatBufferBuilder<'static>;

/// Where a constant's bytes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Place {
    /// In the buffer's own list of bytes.
    #[default]
    Inside,
    /// Behind the FlatBuffer, at `Buffer.offset`.
    Behind,
    /// At an offset past the end of the file.
    PastTheEnd,
}

#[derive(Clone, Debug, Default)]
pub struct Tensor {
    pub name: &'static str,
    pub shape: Vec<i32>,
    pub signature: Vec<i32>,
    /// The schema's number: 0 float32, 1 float16, 2 int32, 3 uint8, 4 int64, 9 int8.
    pub kind: i8,
    pub data: Vec<u8>,
    pub place: Place,
    /// Scales, zero points, axis.
    pub quantization: Option<(Vec<f32>, Vec<i64>, i32)>,
    pub variable: bool,
    pub sparse: bool,
    pub external: u32,
}

#[derive(Clone, Debug, Default)]
pub struct Operator {
    /// `deprecated_builtin_code` and `builtin_code`, each written when it is not 0.
    pub code: (i8, i32),
    pub custom: Option<&'static str>,
    pub inputs: Vec<i32>,
    pub outputs: Vec<i32>,
    /// Number of the table in the union, and its fields.
    pub options: Option<(u8, Vec<(u16, Value)>)>,
}

#[derive(Clone, Copy, Debug)]
pub enum Value {
    Byte(i8),
    Int(i32),
    Float(f32),
}

#[derive(Clone, Debug)]
pub struct Model {
    pub version: u32,
    pub tensors: Vec<Tensor>,
    pub operators: Vec<Operator>,
    pub inputs: Vec<i32>,
    pub outputs: Vec<i32>,
    /// How often the network is listed.
    pub subgraphs: usize,
    /// Names of functions and the subgraphs that they run.
    pub signatures: Vec<(&'static str, u32)>,
    /// Names of metadata and their bytes.
    pub metadata: Vec<(&'static str, Vec<u8>)>,
}

/// A network of one RELU from tensor 0 to tensor 1, both float32 `[1, 4]`.
pub fn relu() -> Model {
    let tensor = |name| Tensor { name, shape: vec![1, 4], ..Tensor::default() };
    Model {
        version: 3,
        tensors: vec![tensor("in"), tensor("out")],
        operators: vec![Operator { code: (19, 19), inputs: vec![0], outputs: vec![1], ..Operator::default() }],
        inputs: vec![0],
        outputs: vec![1],
        subgraphs: 1,
        signatures: Vec::new(),
        metadata: Vec::new(),
    }
}

/// The bytes of a constant.
pub fn bytes<const N: usize>(values: impl IntoIterator<Item = [u8; N]>) -> Vec<u8> {
    values.into_iter().flatten().collect()
}

/// A float DEPTHWISE_CONV_2D over `[1, 5, 5, 2]` with weights (tensor 2) and bias (tensor 3); its options can be changed.
pub fn depthwise() -> Model {
    let mut model = relu();
    model.tensors[0].shape = vec![1, 5, 5, 2];
    model.tensors[1].shape = vec![1, 3, 3, 2];
    let weights = bytes((0..18_u8).map(|i| f32::from(i).to_le_bytes()));
    model.tensors.push(Tensor { name: "w", shape: vec![1, 3, 3, 2], data: weights, ..Tensor::default() });
    let bias = bytes([1.5_f32, -2.0].map(f32::to_le_bytes));
    model.tensors.push(Tensor { name: "b", shape: vec![2], data: bias, ..Tensor::default() });
    let options =
        vec![(0, Value::Byte(1)), (1, Value::Int(3)), (2, Value::Int(2)), (3, Value::Int(1)), (4, Value::Byte(3))];
    let (code, options) = ((4, 4), Some((2, options)));
    model.operators[0] = Operator { code, options, inputs: vec![0, 2, 3], outputs: vec![1], custom: None };
    model
}

/// The same with int8 weights of two scales, and their bias as converters write it: with the weights' axis.
pub fn depthwise_int8() -> Model {
    let mut model = depthwise();
    for tensor in &mut model.tensors[..2] {
        (tensor.kind, tensor.quantization) = (9, Some((vec![0.5], vec![-3], 0)));
    }
    let weights = &mut model.tensors[2];
    (weights.kind, weights.data) = (9, (0..18).collect());
    weights.quantization = Some((vec![0.5, 0.25], vec![0, 0], 3));
    let bias = &mut model.tensors[3];
    (bias.kind, bias.data) = (2, bytes([7_i32, -9].map(i32::to_le_bytes)));
    bias.quantization = Some((vec![0.25, 0.125], vec![0, 0], 3));
    model
}

impl Model {
    /// The file. Built twice when constants lie behind the FlatBuffer: only then its length is known.
    pub fn file(&self) -> Vec<u8> {
        let start = self.build(16).len();
        let mut file = self.build(start);
        assert_eq!(file.len(), start);
        for tensor in self.tensors.iter().filter(|tensor| tensor.place == Place::Behind) {
            file.extend(&tensor.data);
        }
        file
    }

    fn build(&self, mut behind: usize) -> Vec<u8> {
        let b = &mut Builder::new();
        let mut buffers = vec![table(b, |_| {})];
        let tensors: Vec<_> = self.tensors.iter().map(|tensor| tensor.build(b, &mut buffers, &mut behind)).collect();
        let operators: Vec<_> = self.operators.iter().enumerate().map(|(i, operator)| operator.build(b, i)).collect();
        let codes: Vec<_> = self.operators.iter().map(|operator| operator.build_code(b)).collect();
        let mut metadata = Vec::new();
        for (name, bytes) in &self.metadata {
            let (name, bytes) = (b.create_string(name), b.create_vector(bytes));
            buffers.push(table(b, |b| put(b, 0, bytes)));
            let buffer = u32::try_from(buffers.len() - 1).unwrap();
            metadata.push(table(b, |b| {
                put(b, 0, name);
                put(b, 1, buffer);
            }));
        }
        let metadata = b.create_vector(&metadata);
        let [tensors, operators, codes, buffers] =
            [tensors, operators, codes, buffers].map(|list| b.create_vector(&list));
        let (inputs, outputs) = (b.create_vector(&self.inputs), b.create_vector(&self.outputs));
        let graph = table(b, |b| {
            put(b, 0, tensors);
            put(b, 1, inputs);
            put(b, 2, outputs);
            put(b, 3, operators);
        });
        let graphs = b.create_vector(&vec![graph; self.subgraphs]);
        let signatures: Vec<_> = self
            .signatures
            .iter()
            .map(|&(name, subgraph)| {
                let name = b.create_string(name);
                table(b, |b| {
                    put(b, 2, name);
                    put(b, 4, subgraph);
                })
            })
            .collect();
        let signatures = b.create_vector(&signatures);
        let description = b.create_string("built for a test");
        let model = table(b, |b| {
            put(b, 0, self.version);
            put(b, 1, codes);
            put(b, 2, graphs);
            put(b, 3, description);
            put(b, 4, buffers);
            put(b, 6, metadata);
            put(b, 7, signatures);
        });
        b.finish(model, Some("TFL3"));
        b.finished_data().to_vec()
    }
}

/// TensorFlow's metadata: of the first input of the first network a score calibration, which is none of its pixels, and a normalization.
pub fn normalization(mean: &[f32], std: &[f32]) -> Vec<u8> {
    let b = &mut Builder::new();
    let (mean, std) = (b.create_vector(mean), b.create_vector(std));
    let normalization = table(b, |b| {
        put(b, 0, mean);
        put(b, 1, std);
    });
    let calibration = table(b, |_| {});
    let units = [(2_u8, calibration), (1, normalization)].map(|(kind, options)| {
        table(b, |b| {
            put(b, 0, kind);
            put(b, 1, options);
        })
    });
    let units = b.create_vector(&units);
    let input = table(b, |b| put(b, 4, units));
    let inputs = b.create_vector(&[input]);
    let subgraph = table(b, |b| put(b, 2, inputs));
    let subgraphs = b.create_vector(&[subgraph]);
    let root = table(b, |b| put(b, 3, subgraphs));
    b.finish(root, Some("M001"));
    b.finished_data().to_vec()
}

type Table = WIPOffset<TableFinishedWIPOffset>;

fn table(b: &mut Builder, fields: impl FnOnce(&mut Builder)) -> Table {
    let start = b.start_table();
    fields(b);
    b.end_table(start)
}

/// Writes field `id` of the table that is open, even when it has its default.
fn put<T: Push>(b: &mut Builder, id: u16, value: T) {
    b.push_slot_always(4 + 2 * id, value);
}

impl Tensor {
    fn build(&self, b: &mut Builder, buffers: &mut Vec<Table>, behind: &mut usize) -> Table {
        let buffer = if self.data.is_empty() {
            0
        } else {
            buffers.push(self.build_buffer(b, behind));
            u32::try_from(buffers.len() - 1).unwrap()
        };
        let name = b.create_string(self.name);
        let shape = b.create_vector(&self.shape);
        let signature = (!self.signature.is_empty()).then(|| b.create_vector(&self.signature));
        let quantization = self.quantization.as_ref().map(|(scales, zero_points, axis)| {
            let (scales, zero_points) = (b.create_vector(scales), b.create_vector(zero_points));
            table(b, |b| {
                put(b, 2, scales);
                put(b, 3, zero_points);
                put(b, 6, *axis);
            })
        });
        let sparsity = self.sparse.then(|| table(b, |_| {}));
        table(b, |b| {
            put(b, 0, shape);
            put(b, 1, self.kind);
            put(b, 2, buffer);
            put(b, 3, name);
            quantization.into_iter().for_each(|table| put(b, 4, table));
            put(b, 5, self.variable);
            sparsity.into_iter().for_each(|table| put(b, 6, table));
            signature.into_iter().for_each(|list| put(b, 7, list));
            put(b, 10, self.external);
        })
    }

    fn build_buffer(&self, b: &mut Builder, behind: &mut usize) -> Table {
        let size = self.data.len();
        let offset = match self.place {
            Place::Inside => {
                let bytes = b.create_vector(&self.data);
                return table(b, |b| put(b, 0, bytes));
            }
            Place::Behind => {
                *behind += size;
                *behind - size
            }
            Place::PastTheEnd => usize::MAX - 3,
        };
        table(b, |b| {
            put(b, 1, u64::try_from(offset).unwrap());
            put(b, 2, u64::try_from(size).unwrap());
        })
    }
}

impl Operator {
    fn build(&self, b: &mut Builder, index: usize) -> Table {
        let (inputs, outputs) = (b.create_vector(&self.inputs), b.create_vector(&self.outputs));
        let options = self.options.as_ref().map(|(kind, fields)| {
            let options = table(b, |b| {
                for &(id, value) in fields {
                    match value {
                        Value::Byte(value) => put(b, id, value),
                        Value::Int(value) => put(b, id, value),
                        Value::Float(value) => put(b, id, value),
                    }
                }
            });
            (*kind, options)
        });
        table(b, |b| {
            put(b, 0, u32::try_from(index).unwrap());
            put(b, 1, inputs);
            put(b, 2, outputs);
            if let Some((kind, options)) = options {
                put(b, 3, kind);
                put(b, 4, options);
            }
        })
    }

    fn build_code(&self, b: &mut Builder) -> Table {
        let custom = self.custom.map(|name| b.create_string(name));
        table(b, |b| {
            b.push_slot(4, self.code.0, 0);
            custom.into_iter().for_each(|name| put(b, 1, name));
            put(b, 2, 1_i32);
            b.push_slot(10, self.code.1, 0);
        })
    }
}
