//! Stub
/// d
#[derive(Clone, Debug)]
pub struct Dataset { /// l
pub labels: Vec<String>, /// t
pub targets: Vec<usize> }
impl Dataset { /// n
pub fn len(&self)->usize{self.targets.len()} /// i
pub fn input(&self,_i:usize)->&[u8]{&[]} }
