"""Sentences spoken by espeak-ng, a small dataset of sound for configs/codec.py.

apt-get install espeak-ng
python -m benchmarks.spoken_sentences --output=speech

writes 128 files of one to five seconds, 22,050 samples per second, one channel: every sentence by
two voices of different accent, pitch and speed, those of the last sentences into `test`, which no
voice speaks in `train`.
"""

import argparse
import itertools
import shutil
import subprocess
from pathlib import Path

__all__ = ["SENTENCES", "commands", "main"]

# Accents, and variants of timbre of men and women.
_VOICES = ("en-us+m1", "en-gb+f1", "en-gb-scotland+m3", "en-us+f2", "en-029+m7", "en-gb-x-rp+f4")
_PITCHES, _SPEEDS = (35, 50, 65, 80, 45), (140, 165, 190, 150)  # of 100; words per minute
_HELD_OUT = 8  # sentences

SENTENCES = tuple(
    """
    The ferry leaves the harbour at seven in the morning.
    Please put the heavy boxes next to the kitchen door.
    A thin layer of ice covered the pond behind the school.
    She counted eleven red boats and four blue ones.
    We should measure the voltage before we change the fuse.
    The baker sold the last loaf just before noon.
    My brother plays the cello in a very small orchestra.
    Nobody had opened that window since the winter.
    The train to the coast was late again on Friday.
    Fresh paint takes about six hours to dry.
    He wrote the address on the back of an old ticket.
    Three geese walked slowly across the muddy road.
    Turn left at the bridge and follow the river.
    The second half of the film was much better.
    Rain is likely in the north, with strong winds at night.
    They keep the spare key under a flat grey stone.
    Cheap cameras often have trouble with bright light.
    The committee will vote on the budget next Thursday.
    Can you hear the bells from the other side of the valley?
    A good map saves more time than a fast car.
    Grandmother knitted scarves for all of her neighbours.
    The museum shows ships, anchors and a whale's jaw.
    Boil the water first, and then add the rice.
    Every tenth apple in the basket was bruised.
    The old clock in the hall strikes twice at one.
    We watched the smoke rise from a far away chimney.
    His answer was short, polite and completely wrong.
    The library is closed, but the reading room is open.
    Two of the wheels were loose, and one was missing.
    Snow fell all week, and the mountain pass stayed shut.
    Would you like some honey with your tea?
    The new bridge is twice as long as the old one.
    A loud noise in the attic woke the whole family.
    Our teacher drew a perfect circle without a compass.
    They planted cherry trees along both sides of the street.
    The price of coffee has doubled within a year.
    I forgot my umbrella on the bus this afternoon.
    Each of the rooms has a different shade of green.
    The pilot spoke calmly during the rough landing.
    Birds gather on the wires before they fly south.
    Sand from the desert turned the sky orange.
    It took an hour to find a place to park.
    The jury asked to see the photographs once more.
    Bring a torch, a rope and a pair of dry socks.
    Half of the village works in the paper mill.
    The soup needs a little more salt and some pepper.
    A yellow bicycle leaned against the garden wall.
    Who left the gate open during the storm?
    The children built a castle out of cardboard.
    Most of these words have more than one meaning.
    The engine stopped in the middle of the tunnel.
    She speaks quietly, so you have to sit close.
    Fog hid the lighthouse until we were very near.
    The doctor washed her hands and called the next patient.
    They repaired the roof before the autumn rain.
    A narrow path leads down to the beach.
    The choir practises on Tuesday in the town hall.
    He peeled the orange in a single long strip.
    The river froze from one bank to the other.
    Several voices joined the song at the end.
    Leave your wet shoes outside on the mat.
    The judge read the letter twice before he spoke.
    A swarm of bees settled on the chapel roof.
    You can borrow my ladder until Saturday.
    """.strip().splitlines()
)


def commands(output: Path) -> list[list[str]]:
    """The calls of espeak-ng that write the files into `output/train` and `output/test`."""
    voices = zip(
        itertools.cycle(_VOICES), itertools.cycle(_PITCHES), itertools.cycle(_SPEEDS), strict=False
    )
    calls = []
    for number, sentence in enumerate(SENTENCES):
        split = "train" if number < len(SENTENCES) - _HELD_OUT else "test"
        for take in ("a", "b"):
            voice, pitch, speed = next(voices)
            file = output / split / f"{number:02d}{take}.wav"
            options = ["-v", voice, "-p", str(pitch), "-s", str(speed), "-w", str(file)]
            calls.append(["espeak-ng", *options, sentence.strip()])
    return calls


def main() -> None:
    """Writes the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="a new folder")
    output = parser.parse_args().output
    if shutil.which("espeak-ng") is None:
        parser.error("espeak-ng is missing: apt-get install espeak-ng")
    for split in ("train", "test"):
        (output / split).mkdir(parents=True)
    calls = commands(output)
    for call in calls:
        subprocess.run(call, check=True)
    print(f"Wrote {len(calls)} files below {output}.")


if __name__ == "__main__":
    main()
