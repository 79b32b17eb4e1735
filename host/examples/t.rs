use ocelli_host::check::tract::{TractModel, read_onnx};
fn main(){ let p=read_onnx(std::path::Path::new("/tmp/work/demo/model.qdq.onnx")).unwrap();
 let x: Vec<i8>=vec![-50,-20,0,10,30,40,60,-100,5,90];
 let m=TractModel::new(&p,"dense.int8","softmax.int8").unwrap(); println!("{:?}", m.run_i8(&x));
 println!("{}", m.describe());
 let m=TractModel::new(&p,"dense.int8","softmax.float").unwrap(); println!("{}", m.describe());
}
