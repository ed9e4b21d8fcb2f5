# Makes many small files, spread over folders: python3 many.py FOLDER FILES
import os
import sys

folder, files = sys.argv[1], int(sys.argv[2])
for number in range(files):
    place = f"{folder}/{number // 4000}/{number // 80}"
    if number % 80 == 0:
        os.makedirs(place, exist_ok=True)
    with open(f"{place}/{number % 80}.txt", "w") as file:
        file.write(f"{number} of {files}\n" * 40)
