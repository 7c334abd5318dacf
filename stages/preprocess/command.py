"""`alexnet preprocess`: command line -> config -> run."""

from __future__ import annotations

from alexnet_cli.commandline import command_from
from alexnet_cli.console import print_facts, print_json
from alexnet_cli.errors import InterruptedBySaveError
from alexnet_stages.preprocess.config import PreprocessConfig


@command_from(PreprocessConfig)
def command(config: PreprocessConfig) -> None:
    """Make a crop store of pictures: scale the shorter side to 256, cut out the central 256×256.

    --side N makes crops of N×N in place of 256×256. A picture of N×N keeps its pixels.

    SOURCE may be any of these; the command finds out which. Archives are not extracted.
      class folders      their names, sorted, are the classes 0, 1, …; in numeric
                         order if all are numbers
      pictures           a folder of them, with --labels or --unlabelled
      ILSVRC2012_*.tar   train, val or test, or the folder that holds them
                         (--split); labels from the devkit in its folder,
                         or --labels
      Kaggle's CLS-LOC   any folder of it, with --split
      class archives     a folder of one tar or zip for each class (Fall 2011)
      shards             of WebDataset: folder, list, or 'x-{000..099}.tar'
      tar, zip           of class folders; compressed ones (.tar.gz, .tar.zst) are
                         unpacked next to OUT first, which takes longer
      Hugging Face       metadata.csv or .jsonl with the pictures; Parquet
                         (extra "parquet")
      Tiny-ImageNet      as it ships, with --split
    It reads JPEG, PNG, GIF, BMP, TIFF, WebP, PPM, JPEG 2000 and AVIF, and HEIC
    with the extra "heif"; `alexnet doctor` says what reads each format. It counts
    and ignores other files, hidden ones, and the folders of file servers (@eaDir,
    $RECYCLE.BIN …). It puts transparent pictures on white, takes the first frame
    of an animation, scales 16 bits to 8, makes CMYK RGB without a profile, and
    ignores colour profiles (--colour-profile). It rejects 32-bit pixels, damaged
    files, and JPEGs that are cut off (--truncated). Damage inside JPEG data can't
    be detected: JPEG has no checksums.

    If the command is stopped or killed, run it again: it resumes where it stopped.
    The store's bytes depend neither on that nor on the number of workers.

    If a picture can't be read, the command finishes the others and ends with code
    3. --allow-bad N leaves out up to N bad pictures and lists them in
    OUT/rejects.tsv.

    Before it starts, it says how long it will take and whether the disk has room.
    OUT/report.txt lists the pictures of each class, files known to be defective,
    and exact duplicates, within SOURCE and with --compare or --classes.

    --holdout 0.1 --holdout-out val.lmdb makes two stores of one source: about a
    tenth of each class, at least one of two, is held out for validation. The hash
    of a picture's name decides, so it stays on its side when pictures are added.
    Copies of one file stay together.

    Several machines can share the work: each makes one shard, in any order. When
    the last shard is done, every command takes OUT as one store.
      by hand   alexnet preprocess … --out OUT --shard 2/8
      Slurm     sbatch --array=1-8 … (or srun) alexnet preprocess … --shard slurm
      torchrun  torchrun --no-python … alexnet preprocess … --shard torchrun
    slurm reads SLURM_ARRAY_TASK_ID and _COUNT, or without an array SLURM_PROCID and
    SLURM_NTASKS; torchrun reads RANK and WORLD_SIZE. Give --workers if several
    processes share a machine. --allow-bad counts for each shard.

    Example: alexnet preprocess pictures --out train.lmdb --holdout 0.1 --holdout-out val.lmdb
             alexnet preprocess pictures/val --out val.lmdb --classes train.lmdb
             alexnet preprocess ILSVRC2012_img_val.tar --out val.lmdb
    """
    from alexnet_stages.preprocess.run import run

    try:
        result = run(config)
    except KeyboardInterrupt:
        raise InterruptedBySaveError("interrupted: the same command resumes where it stopped") from None
    if config.json:
        print_json(result.as_json())
    else:
        print_facts(str(config.out), result.as_facts())
        if result.held_out:
            print_facts(str(config.holdout_out), result.held_out.as_facts())
