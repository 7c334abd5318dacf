# The whole contest entry of 2012 (paper, table 2), included by the Makefile: `make contest DATA=… FALL2011=…`.
# Its commands, and what each needs, are in the program (`alexnet contest --dry-run` shows them): here are make's variables.
#
## variables of contest, for example `make contest DATA=/data/ilsvrc2012 FALL2011=/data/fall2011 DEVICES=cuda:0,1`:
##   DATA              ILSVRC-2012 as it ships (tars), or any source of `alexnet preprocess --split`
##   FALL2011          the Fall 2011 release; without it there are no conv6 nets, only the 5-net ensemble
##   OUT               where everything is written (default: contest)
##   MEMBERS           nets of five convolutions, trained with the seeds 1, 2, ... (default: 5)
##   PRETRAINED        pre-trainings that the 2 fine-tuned nets start from, 1 or 2 (default: 1)
##   RECIPE, PRETRAIN_RECIPE, FINETUNE_RECIPE    (default: source-2012, conv6-pretrain, conv6-finetune)
##   EPOCHS, PRETRAIN_EPOCHS, FINETUNE_EPOCHS    instead of the recipes'
##   TRAIN_OPTIONS     more options for each `alexnet train`, such as '--compile'
##   PREPROCESS_OPTIONS                          more options for each `alexnet preprocess`
##   TEST              yes or no: whether the test pictures are scored (default: if DATA has any)
##   EXPECT            refuse other numbers of pictures than these (default: ilsvrc2012; EXPECT= for other data)
##   DEVKIT            ILSVRC2012_devkit_t12.tar.gz, if DATA has no devkit IDs for the submissions
##   CODEC, FALL2011_CODEC                       how crops are stored (default: raw, jpeg)
##   ONLY              one step with what it needs, such as ONLY='train cnn-3'
##   PLAN_OPTIONS      more options for the plan, such as '--images-per-second 3000'
##   DEVICES, PRECISION                          as for full-pipeline
## `make contest-plan …` shows the commands, and the plan with hours and bytes; so does `make contest --dry-run …`.

FALL2011 ?=
PRETRAINED ?= 1
PRETRAIN_RECIPE ?=
FINETUNE_RECIPE ?=
PRETRAIN_EPOCHS ?=
FINETUNE_EPOCHS ?=
TRAIN_OPTIONS ?=
PREPROCESS_OPTIONS ?=
EXPECT ?= ilsvrc2012
DEVKIT ?=
FALL2011_CODEC ?= jpeg
TEST ?=
ONLY ?=
PLAN_OPTIONS ?=

# $(call own,NAME,default): the variable if the caller set it, else contest's own default, not full-pipeline's.
own = $(if $(filter file undefined,$(origin $1)),$2,$($1))
# $(call given,--option,value): both, or nothing if the value is empty.
given = $(if $2,$1 $(call quote,$2))

CONTEST = $(ALEXNET) contest $(call quote,$(call own,OUT,contest)) $(call given,--data,$(DATA)) $(call given,--fall2011,$(FALL2011)) \
    --members $(call quote,$(call own,MEMBERS,5)) --pretrained $(call quote,$(PRETRAINED)) \
    --recipe $(call quote,$(call own,RECIPE,source-2012)) $(call given,--pretrain-recipe,$(PRETRAIN_RECIPE)) \
    $(call given,--finetune-recipe,$(FINETUNE_RECIPE)) $(call given,--epochs,$(EPOCHS)) \
    $(call given,--pretrain-epochs,$(PRETRAIN_EPOCHS)) $(call given,--finetune-epochs,$(FINETUNE_EPOCHS)) \
    --codec $(call quote,$(call own,CODEC,raw)) --fall2011-codec $(call quote,$(FALL2011_CODEC)) \
    --expect $(call quote,$(EXPECT)) $(call given,--devkit,$(DEVKIT)) $(call given,--only,$(ONLY)) \
    $(if $(TEST),$(if $(filter yes,$(TEST)),--test,--no-test)) $(call given,--train-options,$(TRAIN_OPTIONS)) \
    $(call given,--preprocess-options,$(PREPROCESS_OPTIONS)) \
    $(WHERE)

.PHONY: contest contest-plan

# make runs a line that begins with + even with --dry-run.
contest: $(READY)  ## the entry of 2012: five nets, conv6 nets pre-trained on Fall 2011, ensembles, the paper's table
	+@$(CONTEST) $(if $(findstring n,$(firstword -$(MAKEFLAGS))),--dry-run $(PLAN_OPTIONS),--update)

contest-plan: $(READY)  ## what contest would do: its commands, and hours and bytes from measured rates
	@$(CONTEST) --dry-run $(PLAN_OPTIONS)
