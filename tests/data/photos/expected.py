#!/usr/bin/env python3
"""Makes the expected pictures beside this script with Pillow (made with 13.0.0): `python3 expected.py`."""

import pathlib

from PIL import Image

here = pathlib.Path(__file__).resolve().parent
photo = Image.open(here / "chelsea.png").convert("RGB")
photo.info.clear()  # colour profile and other metadata
width, height = photo.size
square = photo.crop(((width - height) // 2, 0, (width - height) // 2 + height, height))

photo.resize((24, 16), Image.BILINEAR).save(here / "chelsea-stretch-24x16.png")
square.resize((20, 20), Image.BILINEAR).save(here / "chelsea-crop-20x20.png")
square.convert("L").resize((20, 20), Image.BILINEAR).save(here / "chelsea-gray-20x20.png")
photo.resize((12, 8), Image.BILINEAR).resize((31, 23), Image.BILINEAR).save(here / "chelsea-enlarged-31x23.png")
photo.resize((12, 8), Image.BILINEAR).save(here / "chelsea-small-12x8.png")
