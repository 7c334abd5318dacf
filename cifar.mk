# CIFAR-10: the nets of the released source, and figure 1 of the paper. Both go on where they were stopped, and do nothing
# where all is done; `alexnet ablate` ends with a table beside the published numbers, and a plot.

## variables of cifar and figure-1, such as `make cifar DATA=cifar10`:
##   DATA       CIFAR-10 as pictures: DATA/train/<class>/*, DATA/val/<class>/*, or a tar of these two folders
##   SEEDS      each net is trained once with each (default: 1 for cifar, 1,2,3 for figure-1)

CIFAR ?= $(OUT)/cifar
SEEDS ?=
FIGURE_1_SEEDS = $(if $(SEEDS),$(SEEDS),1$(comma)2$(comma)3)
comma := ,
CIFAR_PICTURES = $(if $(shell [ -d $(call quote,$(DATA))/train ] && echo a folder),$(DATA),$(CIFAR)/pictures)

.PHONY: cifar figure-1 cifar-data

cifar: cifar-data  ## train the source's CIFAR-10 nets, published with 26% and 18% test error
	$(ALEXNET) ablate $(CIFAR)/train.lmdb --val $(CIFAR)/val.lmdb --stats $(CIFAR)/stats.h5 --recipes cifar-26,cifar-18 \
	    --each-own --seeds $(if $(SEEDS),$(SEEDS),1) --devices $(DEVICES) --precision $(PRECISION) --out $(CIFAR)/nets --update

figure-1: cifar-data  ## epochs to 25% training error with ReLUs and with tanh, three seeds each
	$(ALEXNET) ablate $(CIFAR)/train.lmdb --val $(CIFAR)/val.lmdb --stats $(CIFAR)/stats.h5 \
	    --recipes figure-1-relu,figure-1-tanh --train-error 25 $(if $(EPOCHS),--epochs $(EPOCHS)) \
	    --seeds $(FIGURE_1_SEEDS) --devices $(DEVICES) --precision $(PRECISION) \
	    --out $(CIFAR)/figure-1 --update

cifar-data: $(READY)
	@test -n "$(DATA)" || { echo "DATA is missing: make $(MAKECMDGOALS) DATA=cifar10, a folder or tar of train/ and val/"; exit 2; }
	@test -d $(call quote,$(CIFAR_PICTURES))/train || { rm -rf $(CIFAR)/pictures.part && mkdir -p $(CIFAR)/pictures.part && \
	    tar -xf $(call quote,$(DATA)) -C $(CIFAR)/pictures.part && mv $(CIFAR)/pictures.part $(CIFAR)/pictures; }
	@mkdir -p $(CIFAR)
	$(ALEXNET) preprocess $(call quote,$(CIFAR_PICTURES)/train) --out $(CIFAR)/train.lmdb --side 32 --update
	$(ALEXNET) preprocess $(call quote,$(CIFAR_PICTURES)/val) --out $(CIFAR)/val.lmdb --classes $(CIFAR)/train.lmdb --side 32 --update
	$(ALEXNET) pca $(CIFAR)/train.lmdb --out $(CIFAR)/stats.h5 --update
