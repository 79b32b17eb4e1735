//! Why a dataset or a picture cannot be used: each error names the file and says what to do.

use super::Split;
use std::io;
use std::path::PathBuf;

/// Why a dataset or a picture cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refuses to read a file or folder.
    #[error("{path}: cannot be read: check the path and its permissions")]
    Unreadable {
        /// File or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A folder without any dataset that is known.
    #[error(
        "{path}: no dataset here. Looked for MNIST files (train-images-idx3-ubyte[.gz], t10k-images-idx3-ubyte[.gz] and \
         their labels), CIFAR-10 files (data_batch_1.bin, test_batch.bin), CIFAR-100 files (train.bin, test.bin), a folder of \
         images for each class, such class folders inside train/, validation/ and test/, and a table labels.csv; a file may be \
         a .zip, .tar or .tar.gz of one of these, or a .csv with the columns path and label"
    )]
    NotADataset {
        /// The folder.
        path: PathBuf,
    },
    /// A file that belongs to another one is not there.
    #[error("{path}: missing; {needed_by} cannot be used without it")]
    Missing {
        /// The file that should be there (one of its accepted names).
        path: PathBuf,
        /// The file that needs it.
        needed_by: PathBuf,
    },
    /// The dataset has no such part.
    #[error("{path}: has no {split} set: add one, or choose a set that is there ({found})")]
    NoSplit {
        /// The dataset's folder.
        path: PathBuf,
        /// What was asked for.
        split: Split,
        /// The sets that are there.
        found: String,
    },
    /// No images at all.
    #[error("{path}: holds no images: add some, or remove it if it is no class")]
    Empty {
        /// File or folder.
        path: PathBuf,
    },
    /// Not one image could be decoded.
    #[error("{path}: none of its {count} files could be read as an image; the first, {first}: {reason}")]
    AllCorrupt {
        /// The dataset's folder.
        path: PathBuf,
        /// Files that were tried.
        count: usize,
        /// The first of them.
        first: PathBuf,
        /// What is wrong with the first.
        reason: String,
    },
    /// A classifier needs two classes.
    #[error("{path}: all images are of one class, \"{class}\": add images of at least one other class")]
    OneClass {
        /// File or folder.
        path: PathBuf,
        /// The only class.
        class: String,
    },
    /// A class that the training images do not have.
    #[error("{path}: class \"{class}\" is not among the training classes ({known}): rename or remove the folder")]
    UnknownClass {
        /// The class folder.
        path: PathBuf,
        /// Its name.
        class: String,
        /// The training classes.
        known: String,
    },
    /// An image file and its label file do not belong together.
    #[error(
        "{path} holds {images} images but {labels_path} holds {labels} labels: use the two files of the same download"
    )]
    CountMismatch {
        /// The image file.
        path: PathBuf,
        /// Images in it.
        images: u64,
        /// The label file.
        labels_path: PathBuf,
        /// Labels in it.
        labels: u64,
    },
    /// A label that stands for no class.
    #[error("{path}: image {index} has label {label}, but there are only {classes} classes (0 to {})", classes - 1)]
    LabelOutside {
        /// The file.
        path: PathBuf,
        /// The image, counted from 0.
        index: usize,
        /// Its label.
        label: u8,
        /// Number of classes.
        classes: usize,
    },
    /// A label file with too few or too many names.
    #[error("{path}: names {found} classes, but the dataset {dataset} has {expected}: write one name a line, in order")]
    LabelCount {
        /// The label file.
        path: PathBuf,
        /// Names in it.
        found: usize,
        /// The dataset's folder.
        dataset: PathBuf,
        /// Classes of the dataset.
        expected: usize,
    },
    /// A label file that is not text with one name a line.
    #[error("{path}: {reason}: write one class name a line, in UTF-8")]
    LabelText {
        /// The label file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file of another format.
    #[error("{path}: not an idx file of {what}: its magic number is {found:#010x}, expected {expected:#010x}")]
    Magic {
        /// The file.
        path: PathBuf,
        /// `"images"` or `"labels"`.
        what: &'static str,
        /// The first four bytes, big-endian.
        found: u32,
        /// What they should be.
        expected: u32,
    },
    /// The file ends before its header says.
    #[error("{path}: truncated: {expected} bytes expected, {found} found: download it again")]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes (after unpacking) that the header promises.
        expected: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// The file goes on after its header says that it ends.
    #[error("{path}: longer than the {expected} bytes that its header promises: download it again")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Bytes (after unpacking) that the header promises.
        expected: u64,
    },
    /// The gzip stream is damaged.
    #[error("{path}: damaged gzip data ({reason}): download it again")]
    Gzip {
        /// The file.
        path: PathBuf,
        /// What the decompressor says.
        reason: String,
    },
    /// More than fits in memory.
    #[error("{path}: needs {bytes} bytes of memory, the limit is {limit}: use fewer images or a smaller network input")]
    TooLarge {
        /// File or folder.
        path: PathBuf,
        /// Bytes that would be needed.
        bytes: u64,
        /// Bytes that are allowed.
        limit: u64,
    },
    /// An archive that cannot be read.
    #[error("{path}: this archive cannot be read: {reason}")]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A table of pictures that cannot be read.
    #[error("{path}: this table cannot be used: {reason}; it needs the columns path and label, and may have split")]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A thread that makes batches has ended before its time.
    #[error("a thread that decodes images was lost; its message is above: please report it, with the dataset's kind")]
    WorkerLost,
    /// A picture that cannot be decoded.
    #[error("{path}: {reason}")]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
}
