# CIFAR-10: the nets of the released source, and figure 1 of the paper. Both resume where they were stopped, and do nothing
# if all is done; `alexnet ablate` ends with a table next to the published numbers, and a plot.

## variables of cifar and figure-1, for example `make cifar DATA=cifar10`:
##   DATA       CIFAR-10 as pictures: DATA/train/<class>/*, DATA/val/<class>/*, or a tar of these two folders
##   SEEDS      each net is trained once with each seed (default: 1 for cifar, 1,2,3 for figure-1)
##   OUT, DEVICES, PRECISION                     as for full-pipeline; EPOCHS too, in figure-1

CIFAR ?= $(OUT)/cifar
NETS = $(call quote,$(CIFAR))
SEEDS ?=
FIGURE_1_SEEDS = $(if $(SEEDS),$(call quote,$(SEEDS)),1$(comma)2$(comma)3)
comma := ,
# A folder's part, or the part of a tar that holds both.
cifar_part = $(call quote,$(DATA))$(if $(shell [ -d $(call quote,$(DATA))/train ] && echo a folder),/$1, --split $1)

.PHONY: cifar figure-1 cifar-data

cifar: cifar-data  ## train the source's CIFAR-10 nets, published with 26% and 18% test error
	$(ALEXNET) ablate $(NETS)/train.lmdb --val $(NETS)/val.lmdb --stats $(NETS)/stats.h5 --recipes cifar-26,cifar-18 \
	    --each-own --seeds $(if $(SEEDS),$(call quote,$(SEEDS)),1) $(WHERE) --out $(NETS)/nets --update

figure-1: cifar-data  ## epochs to 25% training error with ReLUs and with tanh, three seeds each
	$(ALEXNET) ablate $(NETS)/train.lmdb --val $(NETS)/val.lmdb --stats $(NETS)/stats.h5 \
	    --recipes figure-1-relu,figure-1-tanh --train-error 25 $(if $(EPOCHS),--epochs $(call quote,$(EPOCHS))) \
	    --seeds $(FIGURE_1_SEEDS) $(WHERE) \
	    --out $(NETS)/figure-1 --update

cifar-data: $(READY)
	@test -n $(call quote,$(DATA)) || { echo "DATA is missing: make $(MAKECMDGOALS) DATA=cifar10, a folder or tar of train/ and val/"; exit 2; }
	$(ALEXNET) preprocess $(call cifar_part,train) --out $(NETS)/train.lmdb --side 32 --update
	$(ALEXNET) preprocess $(call cifar_part,val) --out $(NETS)/val.lmdb --classes $(NETS)/train.lmdb --side 32 --update
	$(ALEXNET) pca $(NETS)/train.lmdb --out $(NETS)/stats.h5 --update
