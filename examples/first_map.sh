#!/bin/sh
# From nothing to a segmented map, in a new folder first_map: simulate one map to learn from and one to segment.
set -e
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p first_map
cd first_map
python "$here/make_galaxy.py" --size 768 320 --seed 1 -o galaxy.fits --overwrite
python "$here/make_galaxy.py" --size 512 320 --seed 2 -o map.fits --overwrite
bigsf preprocess galaxy.fits --patch-size 64 --stride 8 --overwrite
bigsf split galaxy.h5 -k 4 --k-train 2 --overwrite
bigsf train "$here/first_map.yaml" --set data.path="$PWD/galaxy.h5" --set trainer.output_dir="$PWD/results" --overwrite
bigsf segment results/first_map/best.pt map.fits --overwrite
python "$here/gallery.py" map.fits map_segmented.fits filaments.png
echo "See $PWD/filaments.png and $PWD/map_segmented.png"
