"""`alexnet preprocess`: command line -> config -> run."""

from __future__ import annotations

from alexnet_cli.commandline import command_from
from alexnet_cli.console import print_facts, print_json
from alexnet_cli.errors import InterruptedBySaveError
from alexnet_stages.preprocess.config import PreprocessConfig


@command_from(PreprocessConfig)
def command(config: PreprocessConfig) -> None:
    """Pictures -> crop store: shorter side scaled to 256, central 256×256 cut out.

    What SOURCE is, is seen by looking; archives are read in place:
      class folders      their names, sorted, are the classes 0, 1, …; in numeric
                         order where all are numbers
      pictures           a folder of them, with --labels or --unlabelled
      ILSVRC2012_*.tar   train, val or test, or the folder that holds them
                         (--split); labels from the devkit beside, or --labels
      Kaggle's CLS-LOC   any folder of it, with --split
      class tars         a folder of one tar for each class (Fall 2011)
      shards             of WebDataset: folder, list, or 'x-{000..099}.tar'
    Read are JPEG, PNG, GIF, BMP, TIFF, WebP, PPM, JPEG 2000 and AVIF, and HEIC
    with the extra "heif"; alexnet doctor says who reads which. Other files, hidden
    ones and the folders of file servers (@eaDir, $RECYCLE.BIN …) are ignored and
    counted. Transparent pictures lie on white, colour profiles are not applied,
    of an animation the first frame counts, 16 bits are scaled to 8 and 32-bit
    pixels rejected.

    Stopped or killed, the same command goes on where it was; the store is the
    same as if never stopped, and the same for any number of workers.

    A picture that can't be read ends the command with code 3 when all others
    are done; --allow-bad N leaves out up to N and lists them in OUT/rejects.tsv.

    At the end, and in OUT/report.txt: pictures of each class, known defective
    files, exact duplicates (also of --compare or --classes), and other things
    worth knowing. Before: how long it will take and whether the disk has room.

    Several machines: each makes one shard, in any order; OUT is complete with
    the last, and every command takes it as one store, the same as in one piece.
      by hand   alexnet preprocess … --out OUT --shard 2/8
      Slurm     sbatch --array=1-8 … (or srun) alexnet preprocess … --shard slurm
      torchrun  torchrun --no-python … alexnet preprocess … --shard torchrun
    slurm reads SLURM_ARRAY_TASK_ID and _COUNT (without an array SLURM_PROCID and
    SLURM_NTASKS), torchrun reads RANK and WORLD_SIZE. Processes that share a
    machine want --workers too. --allow-bad counts for each shard.

    Example: alexnet preprocess pictures/val --out val.lmdb --classes train.lmdb
             alexnet preprocess ILSVRC2012_img_val.tar --out val.lmdb
    """
    from alexnet_stages.preprocess.run import run

    try:
        result = run(config)
    except KeyboardInterrupt:
        raise InterruptedBySaveError("interrupted: the same command goes on where it stopped") from None
    if config.json:
        print_json(result.as_json())
    else:
        print_facts(str(config.out), result.as_facts())
