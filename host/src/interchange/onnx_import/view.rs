//! How an ONNX value lies in a tensor of ours. ONNX does not say which axis means what: the axes are followed from the input on, so that
//! a transpose or a reshape is a change of view, and NCHW is turned to NHWC by reading an axis where it lies.

use ocelli::ir::Shape;

/// An axis of a batch of our tensors, `[n, h, w, c]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Axis {
    /// The batch.
    N,
    /// Rows.
    H,
    /// Columns.
    W,
    /// Channels.
    C,
}

use Axis::{C, H, N, W};

/// A value that a network computes.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The tensor that holds it.
    pub tensor: usize,
    /// The tensor's shape.
    pub shape: Shape,
    /// Pictures in the batch.
    pub batch: usize,
    /// The value's dimensions in ONNX.
    pub dims: Vec<usize>,
    /// Our axes in the order of the value's memory; where an axis of size 1 stands does not matter.
    pub order: Vec<Axis>,
    /// Whether, from the making of the tensor to this value, every value had one reader.
    pub sole: bool,
    /// The node that last flattened it.
    pub flattened_by: Option<String>,
}

impl View {
    /// Size of an axis.
    pub fn size(&self, axis: Axis) -> usize {
        match axis {
            N => self.batch,
            H => self.shape.h as usize,
            W => self.shape.w as usize,
            C => self.shape.c as usize,
        }
    }

    /// The axes of more than one, in memory order.
    fn long(&self) -> impl Iterator<Item = Axis> {
        self.order.iter().copied().filter(|&axis| self.size(axis) > 1)
    }

    /// The axes that each dimension is made of, those of size 1 left out; `None` where a dimension holds a part of an axis.
    pub fn groups(&self) -> Option<Vec<Vec<Axis>>> {
        let mut axes = self.long();
        let mut groups = Vec::with_capacity(self.dims.len());
        for &dim in &self.dims {
            let (mut left, mut group) = (dim, Vec::new());
            while left > 1 {
                let axis = axes.next()?;
                if !left.is_multiple_of(self.size(axis)) {
                    return None;
                }
                left /= self.size(axis);
                group.push(axis);
            }
            groups.push(group);
        }
        axes.next().is_none().then_some(groups)
    }

    /// Whether the value's memory order is that of our tensor.
    pub fn in_our_order(&self) -> bool {
        self.long().is_sorted()
    }

    /// Whether the values lie channel by channel, as ONNX's pictures do.
    pub fn channels_first(&self) -> bool {
        let place = |axis: Axis| [N, C, H, W].iter().position(|&other| other == axis);
        self.long().map(place).is_sorted()
    }

    /// Whether a dimension is an axis, or could be: a dimension of 1 is any axis of size 1.
    pub fn is_axis(&self, dim: usize, axis: Axis) -> bool {
        let Some(groups) = self.groups() else { return false };
        match groups.get(dim).map(Vec::as_slice) {
            Some([one]) => *one == axis,
            Some([]) => self.size(axis) == 1,
            _ => false,
        }
    }

    /// The dimension that the channels lie along; where there is one channel, `None`.
    pub fn channels_dim(&self) -> Option<usize> {
        self.groups()?.iter().position(|group| group.as_slice() == [C])
    }

    /// The same memory under other dimensions.
    pub fn reshaped(&self, dims: Vec<usize>) -> Self {
        Self { dims, ..self.clone() }
    }

    /// The dimensions in another order, `perm[i]` being the one that comes to place `i`.
    pub fn transposed(&self, perm: &[usize]) -> Option<Self> {
        let groups = self.groups()?;
        let mut order: Vec<Axis> = perm.iter().flat_map(|&dim| groups[dim].iter().copied()).collect();
        order.extend([N, H, W, C].into_iter().filter(|&axis| self.size(axis) == 1));
        Some(Self { dims: perm.iter().map(|&dim| self.dims[dim]).collect(), order, ..self.clone() })
    }

    /// The same value with another number of channels along dimension `dim`, in a new tensor.
    pub fn with_channels(&self, dim: usize, tensor: usize, shape: Shape) -> Option<Self> {
        let groups = self.groups()?;
        let mut order = Vec::new();
        for (at, group) in groups.iter().enumerate() {
            order.extend(group.iter().copied().filter(|&axis| axis != C));
            if at == dim {
                order.push(C);
            }
        }
        order.extend([N, H, W].into_iter().filter(|&axis| self.size(axis) == 1));
        let mut dims = self.dims.clone();
        *dims.get_mut(dim)? = shape.c as usize;
        Some(Self { dims, order, tensor, shape, sole: true, flattened_by: None, ..self.clone() })
    }

    /// For each of our values of a picture, in H, W, C order, where it lies in the value's order.
    pub fn flat_places(&self) -> Vec<usize> {
        self.places(&[H, W, C])
    }

    /// For each value along some of our axes, in their order, where it lies in the value's order of these axes.
    pub fn places(&self, axes: &[Axis]) -> Vec<usize> {
        let mut strides = vec![0_usize; axes.len()];
        let mut stride = 1;
        for axis in self.order.iter().rev() {
            if let Some(place) = axes.iter().position(|other| other == axis) {
                strides[place] = stride;
                stride *= self.size(*axis);
            }
        }
        let mut places = vec![0];
        for (&axis, stride) in axes.iter().zip(strides) {
            places = places.iter().flat_map(|&place| (0..self.size(axis)).map(move |at| place + at * stride)).collect();
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(h: u32, w: u32, c: u32) -> View {
        View {
            tensor: 0,
            shape: Shape::new(h, w, c),
            batch: 1,
            dims: vec![1, c as usize, h as usize, w as usize],
            order: vec![N, C, H, W],
            sole: true,
            flattened_by: None,
        }
    }

    #[test]
    fn axes_are_followed_through_transposes_and_reshapes() {
        let nchw = picture(5, 7, 3);
        assert_eq!(nchw.groups().unwrap(), [vec![], vec![C], vec![H], vec![W]]);
        assert!(!nchw.in_our_order());
        let nhwc = nchw.transposed(&[0, 2, 3, 1]).unwrap();
        assert_eq!((nhwc.dims.as_slice(), nhwc.in_our_order()), (&[1, 5, 7, 3][..], true));
        let flat = nchw.reshaped(vec![1, 105]);
        assert_eq!(flat.groups().unwrap(), [vec![], vec![C, H, W]]);
        assert_eq!(flat.reshaped(vec![3, 35]).groups().unwrap(), [vec![C], vec![H, W]]);
        assert_eq!(flat.reshaped(vec![5, 21]).groups(), None);
        assert!(picture(1, 1, 4).reshaped(vec![4]).is_axis(0, C));
        assert_eq!(picture(2, 3, 1).channels_dim(), None);
        assert!(picture(2, 3, 1).is_axis(1, C));
    }

    #[test]
    fn a_flat_picture_tells_where_each_of_our_values_lies() {
        let (h, w, c) = (2, 3, 4);
        let places = picture(h, w, c).flat_places();
        for y in 0..2 {
            for x in 0..3 {
                for channel in 0..4 {
                    assert_eq!(places[(y * 3 + x) * 4 + channel], (channel * 2 + y) * 3 + x);
                }
            }
        }
        assert!(picture(h, w, c).transposed(&[0, 2, 3, 1]).unwrap().flat_places().is_sorted());
    }

    #[test]
    fn more_channels_lie_where_the_dimension_is() {
        let one = picture(2, 3, 1);
        let more = one.with_channels(1, 1, Shape::new(2, 3, 6)).unwrap();
        assert_eq!(more.groups().unwrap(), [vec![], vec![C], vec![H], vec![W]]);
        let last = one.transposed(&[0, 2, 3, 1]).unwrap().with_channels(3, 1, Shape::new(2, 3, 6)).unwrap();
        assert_eq!(last.groups().unwrap(), [vec![], vec![H], vec![W], vec![C]]);
    }
}
