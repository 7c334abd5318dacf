# The whole contest entry of 2012 (paper, table 2), included by the Makefile: `make contest DATA=… FALL2011=…`.
#
#   train, val, test, Fall 2011 ─▶ crops ─▶ statistics ─▶ 5 nets of five convolutions ─▶ pre-training on Fall 2011
#   ─▶ 2 fine-tuned nets of six ─▶ scores ─▶ 5-net and 7-net ensembles, submissions ─▶ the table beside the paper's
#
## variables of contest, such as `make contest DATA=/data/ilsvrc2012 FALL2011=/data/fall2011 DEVICES=cuda:0,1`:
##   DATA              ILSVRC-2012 as it ships (tars), or any source of `alexnet preprocess --split`
##   FALL2011          the Fall 2011 release; without it there are no conv6 nets, only the 5-net ensemble
##   OUT               where everything is written (default: contest)
##   MEMBERS           nets of five convolutions, trained with the seeds 1, 2, ... (default: 5)
##   PRETRAINED        pre-trainings that the 2 fine-tuned nets start from, 1 or 2 (default: 1)
##   RECIPE, PRETRAIN_RECIPE, FINETUNE_RECIPE    (default: paper, conv6-pretrain, conv6-finetune)
##   EPOCHS, PRETRAIN_EPOCHS, FINETUNE_EPOCHS    instead of the recipes'
##   TRAIN_OPTIONS     more words for each `alexnet train`, such as '--compile'
##   PREPROCESS_OPTIONS                          more words for each `alexnet preprocess`
##   TEST              yes or no: whether DATA has test pictures (default: look)
##   EXPECT            what the crops of train and val are held against (default: ilsvrc2012; EXPECT= for other data)
##   DEVKIT            ILSVRC2012_devkit_t12.tar.gz, where DATA has no devkit IDs for the submissions
##   CODEC, FALL2011_CODEC                       how crops are stored (default: raw, jpeg)
##   PLAN_OPTIONS      more words for the plan, such as '--images-per-second 3000'
## `make contest --dry-run …` shows the commands, and the plan with hours and bytes; `make contest-plan …` the plan alone.

# $(call own,NAME,default): the variable where the caller set it, else contest's own default, not full-pipeline's.
own = $(if $(filter file undefined,$(origin $1)),$2,$($1))

FALL2011 ?=
PRETRAINED ?= 1
PRETRAIN_RECIPE ?= conv6-pretrain
FINETUNE_RECIPE ?= conv6-finetune
PRETRAIN_EPOCHS ?=
FINETUNE_EPOCHS ?=
TRAIN_OPTIONS ?=
PREPROCESS_OPTIONS ?=
EXPECT ?= ilsvrc2012
DEVKIT ?=
FALL2011_CODEC ?= jpeg
PLAN_OPTIONS ?=

CONTEST := $(call own,OUT,contest)

.PHONY: contest contest-plan

ifneq ($(filter contest contest-plan $(CONTEST)/%,$(MAKECMDGOALS)),)

SETTINGS := $(CONTEST)/.settings
CONTEST_NUMBERS := $(shell seq 1 $(call own,MEMBERS,5) 2>/dev/null)
CONTEST_RECIPE := $(call own,RECIPE,paper)
CONTEST_CODEC := $(call own,CODEC,raw)

ifeq ($(CONTEST_NUMBERS),)
$(error MEMBERS=$(MEMBERS): must be a number, 1 or more)
endif
ifeq ($(filter 1 2,$(PRETRAINED)),)
$(error PRETRAINED=$(PRETRAINED): must be 1 or 2)
endif
ifeq ($(DATA),)
$(error DATA: must name the folder of ILSVRC-2012: make contest DATA=/path FALL2011=/path)
endif
ifneq ($(shell [ -e $(call quote,$(DATA)) ] && echo yes),yes)
$(error DATA=$(DATA): there is no such folder)
endif
ifneq ($(FALL2011),)
ifneq ($(shell [ -e $(call quote,$(FALL2011)) ] && echo yes),yes)
$(error FALL2011=$(FALL2011): there is no such folder)
endif
endif

TEST ?= $(shell for found in $(call quote,$(DATA))/{ILSVRC2012_img_test*.tar,test,ILSVRC/Data/CLS-LOC/test}; do \
    [ -e "$$found" ] && echo yes && exit; done; echo no)

# --- who is who: an artifact's last file is make's target, as in full-pipeline

C := $(CONTEST)
CNNS := $(CONTEST_NUMBERS:%=cnn-%)
PRETRAININGS := $(if $(FALL2011),$(patsubst %,pretrained-%,$(wordlist 1,$(PRETRAINED),1 2)))
FINETUNED := $(if $(FALL2011),finetuned-1 finetuned-2)
NETS := $(CNNS) $(FINETUNED)
SPLITS := $(strip val $(if $(filter yes,$(TEST)),test))
FIVE := $(words $(CNNS))
SEVEN := $(words $(NETS))
SIZES := $(strip $(FIVE) $(if $(FALL2011),$(SEVEN)))
CONTEST_ENSEMBLES := $(foreach size,$(SIZES),$(foreach split,$(SPLITS),$(C)/ensembles/$(size)-$(split)/manifest.json))
store = $(C)/crops/$1.lmdb/manifest.json
net = $(C)/nets/$1/manifest.json

TRAIN_WORDS = --devices $(DEVICES) --precision $(PRECISION) $(TRAIN_OPTIONS)
recipe_file = $(wildcard src/alexnet_cli/recipes/$1.toml)

# With -q there is nothing to say; see full-pipeline.
contest: $(C)/table.txt  ## the entry of 2012: five nets, conv6 nets pre-trained on Fall 2011, ensembles, the paper's table
ifeq ($(findstring q,$(firstword x$(MAKEFLAGS))),)
ifneq ($(findstring n,$(firstword -$(MAKEFLAGS))),)
	+@$(PLAN)
else
	@cat $<
endif
endif

# make runs a line that begins with + even when it only shows what it would do.
PLAN = if command -v $(ALEXNET) > /dev/null; then $(ALEXNET) contest $(C) --dry-run --data $(call quote,$(DATA)) \
    $(if $(FALL2011),--fall2011 $(call quote,$(FALL2011)) --pretrained $(PRETRAINED) \
    --pretrain-recipe $(PRETRAIN_RECIPE) --finetune-recipe $(FINETUNE_RECIPE) \
    $(if $(PRETRAIN_EPOCHS),--pretrain-epochs $(PRETRAIN_EPOCHS)) \
    $(if $(FINETUNE_EPOCHS),--finetune-epochs $(FINETUNE_EPOCHS)) --fall2011-codec $(FALL2011_CODEC)) \
    --members $(FIVE) --recipe $(CONTEST_RECIPE) $(if $(EPOCHS),--epochs $(EPOCHS)) --codec $(CONTEST_CODEC) \
    $(if $(filter yes,$(TEST)),--test,--no-test) --devices $(DEVICES) --precision $(PRECISION) $(PLAN_OPTIONS); \
    else echo "no plan yet: run 'make setup' first"; fi

contest-plan: | $(READY)  ## what contest would do, stage by stage, with hours and bytes from measured rates
	@$(PLAN)

# --- crops. The settings file's time is the start of the work, as in full-pipeline.

contest_settings = $(DATA) $(CONTEST_CODEC) $(PREPROCESS_OPTIONS) $(EXPECT)
begin = @mkdir -p $(SETTINGS) && echo $(call quote,$2) > $(SETTINGS)/$1.begun
end = @mv $(SETTINGS)/$1.begun $(SETTINGS)/$1 && touch $@

$(call store,train): $(call changed,train,$(contest_settings)) | $(READY)
	$(call begin,train,$(contest_settings))
	$(ALEXNET) preprocess $(call quote,$(DATA)) --split train --out $(C)/crops/train.lmdb --codec $(CONTEST_CODEC) \
	    $(if $(EXPECT),--expect $(EXPECT)) $(PREPROCESS_OPTIONS) --overwrite
	$(call end,train)

$(call store,val): $(call store,train) $(call changed,val,$(contest_settings)) | $(READY)
	$(call begin,val,$(contest_settings))
	$(ALEXNET) preprocess $(call quote,$(DATA)) --split val --out $(C)/crops/val.lmdb --classes $(C)/crops/train.lmdb \
	    --codec $(CONTEST_CODEC) $(if $(EXPECT),--expect $(EXPECT)) $(PREPROCESS_OPTIONS) --overwrite
	$(call end,val)

$(call store,test): $(call store,train) $(call changed,test,$(contest_settings)) | $(READY)
	$(call begin,test,$(contest_settings))
	$(ALEXNET) preprocess $(call quote,$(DATA)) --split test --out $(C)/crops/test.lmdb --classes $(C)/crops/train.lmdb \
	    --codec $(CONTEST_CODEC) $(PREPROCESS_OPTIONS) --overwrite
	$(call end,test)

fall2011_settings = $(FALL2011) $(FALL2011_CODEC) $(PREPROCESS_OPTIONS)
$(call store,fall2011): $(call changed,fall2011,$(fall2011_settings)) | $(READY)
	$(call begin,fall2011,$(fall2011_settings))
	$(ALEXNET) preprocess $(call quote,$(FALL2011)) --out $(C)/crops/fall2011.lmdb --codec $(FALL2011_CODEC) \
	    $(PREPROCESS_OPTIONS) --overwrite
	$(call end,fall2011)

$(C)/statistics/train.h5 $(C)/statistics/fall2011.h5: $(C)/statistics/%.h5: $(C)/crops/%.lmdb/manifest.json | $(READY)
	$(ALEXNET) pca $(C)/crops/$*.lmdb --out $@ --overwrite
	@touch $@

# --- nets. As in full-pipeline, one goes on (--resume) as long as what shapes it is the same, and is made anew otherwise.
# $(call train,NET,SEED,STORE,RECIPE,EPOCHS,PARENT): PARENT is the net that it starts from, or nothing.

# What shapes a net: its first line, for $(changed), and then the digests of its parents and its recipe's text.
net_settings = $2 $3 $(call recipe_words,$4,$5) $(PRECISION) $(TRAIN_OPTIONS) $6
recipe_words = --recipe $1 $(if $2,--epochs $2)

define train
$(call net,$1): $(call changed,net-$1,$(call net_settings,$1,$2,$3,$4,$5,$6)) $(call store,$3) $(C)/statistics/$3.h5 \
    $(if $(filter train,$3),$(call store,val)) $(if $6,$(call net,$6)) $(call recipe_file,$4) | $(READY)
	@mkdir -p $(SETTINGS); { echo $(call quote,$(call net_settings,$1,$2,$3,$4,$5,$6)); \
	    grep -h '"digest"' $(call store,$3) $(if $6,$(call net,$6)); cat /dev/null $(call recipe_file,$4); } \
	    > $(SETTINGS)/net-$1.now; \
	cmp -s $(SETTINGS)/net-$1.now $(SETTINGS)/net-$1 || rm -rf $(C)/nets/$1; \
	mv $(SETTINGS)/net-$1.now $(SETTINGS)/net-$1
	[ -e $$@ ] || $(ALEXNET) train $(C)/crops/$3.lmdb $(if $(filter train,$3),--val $(C)/crops/val.lmdb) \
	    --stats $(C)/statistics/$3.h5 $(call recipe_words,$4,$5) $(if $6,--init-from $(C)/nets/$6) \
	    $(TRAIN_WORDS) --seed $2 --out $(C)/nets/$1 --resume
	@touch $$@
endef

# The j-th pre-training starts from the j-th net (from the first, if it is the only one); so does fine-tuning.
parent = $(firstword $(filter %-$2,$1) $1)
$(foreach i,$(CONTEST_NUMBERS),$(eval $(call train,cnn-$i,$i,train,$(CONTEST_RECIPE),$(EPOCHS),)))
$(foreach name,$(PRETRAININGS),$(eval $(call train,$(name),$(name:pretrained-%=%),fall2011,$(PRETRAIN_RECIPE),$\
    $(PRETRAIN_EPOCHS),$(call parent,$(CNNS),$(name:pretrained-%=%)))))
$(foreach name,$(FINETUNED),$(eval $(call train,$(name),$(name:finetuned-%=%),train,$(FINETUNE_RECIPE),$\
    $(FINETUNE_EPOCHS),$(call parent,$(PRETRAININGS),$(name:finetuned-%=%)))))

# --- scores, ensembles, table: a net is evaluated once, ensembles are made of its scores

define scores
$(C)/scores/$2/$1.h5: $(call net,$1) $(call store,$2) | $(READY)
	$(ALEXNET) eval $(C)/nets/$1 $(C)/crops/$2.lmdb --devices $(DEVICES) --precision $(PRECISION) --out $$@ --overwrite
	@touch $$@
endef
$(foreach name,$(NETS),$(foreach split,$(SPLITS),$(eval $(call scores,$(name),$(split)))))

define ensemble
$(C)/ensembles/$1-$2/manifest.json: $(wordlist 1,$1,$(NETS:%=$(C)/scores/$2/%.h5)) | $(READY)
	$(ALEXNET) ensemble $(wordlist 1,$1,$(NETS:%=$(C)/scores/$2/%.h5)) --crops $(C)/crops/$2.lmdb --out $(C)/ensembles/$1-$2 \
	    $(if $(filter test,$2),--submission $(C)/submission-$1.txt $(if $(DEVKIT),--devkit $(call quote,$(DEVKIT)))) --overwrite
	@touch $$@
endef
$(foreach size,$(SIZES),$(foreach split,$(SPLITS),$(eval $(call ensemble,$(size),$(split)))))

# Another number of nets leaves all files as new as they were, but not the table.
$(C)/table.txt: $(CONTEST_ENSEMBLES) $(call changed,table,$(SIZES) $(SPLITS)) | $(READY)
	$(ALEXNET) contest $(C) --members $(FIVE) > $@.begun
	@mv $@.begun $@; echo $(SIZES) $(SPLITS) > $(SETTINGS)/table
else
contest contest-plan:
	@:
endif
