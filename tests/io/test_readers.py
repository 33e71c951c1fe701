"""Tables as they lie on people's desks: each is read, and says how; what is doubtful or refused says so with its place.

Every text is a small copy of a format that a program or instrument writes; where it comes from stands beside it.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pyro_nld.errors import DataError, DoubtfulDataWarning, NLDError, TimeGridError
from pyro_nld.io import from_table, load

VALUES = np.random.default_rng(8).normal(size=(12, 2)).round(3)


def rows(line: str, count: int = 12, **more: object) -> str:
    """Lines made of a pattern: `i` is the row, `a` and `b` its values."""
    made = [line.format(i=i, t=i / 2, a=a, b=b, **more) for i, (a, b) in enumerate(VALUES[:count])]
    return "\n".join(made) + "\n"


def comma(text: str) -> str:
    """Numbers as large parts of Europe write them."""
    return text.replace(".", ",")


def hours(line: str) -> str:
    return "".join(line.format(hour=i, a=a, b=b) + "\n" for i, (a, b) in enumerate(VALUES))


READ: dict[str, tuple[str, str, str]] = {
    # name: (file, text, what was guessed). The kinds of the issue:
    "comma": ("a.csv", "time,a,b\n" + rows("{t},{a},{b}"), "comma separated, time, one sequence, channels a, b"),
    "capital time": ("a.csv", "Time,a,b\n" + rows("{t},{a},{b}"), "comma separated, time, one sequence, channels a, b"),
    "time t": ("a.csv", "t,a,b\n" + rows("{t},{a},{b}"), "comma separated, time by t, one sequence, channels a, b"),
    "unit of time in its title": (
        "a.csv",
        "time (s),a,b\n" + rows("{t},{a},{b}"),
        "comma separated, time in s, one sequence, channels a, b",
    ),
    "semicolon and decimal comma": (
        "a.csv",
        "time;a;b\n" + comma(rows("{t};{a};{b}")),
        "; separated, decimal comma, time, one sequence, channels a, b",
    ),
    "tab": ("a.tsv", "time\ta\tb\n" + rows("{t}\t{a}\t{b}"), "tab separated, time, one sequence, channels a, b"),
    "tabs and dates with a blank": (
        "a.tsv",
        "trial\ttime\ta\tb\n\t\tpA\tmV\n" + hours("x\t2021-03-01 {hour:02d}:00:00\t{a}\t{b}"),
        "tab separated, units in row 2, time in h since 2021-03-01 00:00:00, one sequence by trial, channels a, b",
    ),
    "tab, called csv": (
        "a.csv",
        "time\ta\tb\n" + rows("{t}\t{a}\t{b}"),
        "tab separated, time, one sequence, channels a, b",
    ),
    "blanks": (
        "a.dat",
        "  time      a        b\n" + rows("{t:8.2f} {a:8.3f} {b:8.3f}"),
        "blank separated, time, one sequence, channels a, b",
    ),
    "comments": (
        "a.csv",
        "# recorded by someone, on a day, with commas\n# units: s, pA, mV\ntime,a,b\n" + rows("{t},{a},{b}"),
        "comma separated, names in row 3, time in s, one sequence, channels a, b",
    ),
    "row of units": (
        "a.csv",
        "time,a,b\ns,pA,mV\n" + rows("{t},{a},{b}"),
        "comma separated, units in row 2, time in s, one sequence, channels a, b",
    ),
    "dates": (
        "a.csv",
        "time,a,b\n" + hours("2021-03-01 {hour:02d}:00:00,{a},{b}"),
        "comma separated, time in h since 2021-03-01 00:00:00, one sequence, channels a, b",
    ),
    "seconds since 1970": (
        "a.csv",
        "time,a,b\n" + rows("160000000{t},{a},{b}"),
        "comma separated, time in s since 2020-09-13 12:26:40, one sequence, channels a, b",
    ),
    "trials": (
        "a.csv",
        "time,a,b,trial\n" + rows("{t},{a},{b},0") + rows("{t},{a},{b},1", 9),
        "comma separated, time, 2 sequences by trial, channels a, b",
    ),
    "animals on one clock": (
        "a.csv",
        "ID,time,a,b\n" + "".join(f"{i // 4},{i},{a},{b}\n" for i, (a, b) in enumerate(VALUES)),
        "comma separated, time, 3 sequences by ID, channels a, b",
    ),
    "nights": (
        "a.csv",
        "time,night,a,b\n" + rows("{t},first,{a},{b}") + rows("{t},second,{a},{b}"),
        "comma separated, time, 2 sequences by night, channels a, b",
    ),
    # PLUMED 2, the file COLVAR of PRINT (manual, "Exchange of files"): FIELDS names the columns
    "COLVAR": (
        "COLVAR",
        "#! FIELDS time a b\n#! SET kT 2.49\n" + rows(" {t:.6f} {a:.6f} {b:.6f}"),
        "blank separated, names in row 1, time, one sequence, channels a, b",
    ),
    # GROMACS, gmx energy (reference manual, "xvg"): grace's commands carry titles and legends
    "xvg with legends": (
        "energy.xvg",
        '# This file was created by gmx energy\n@    title "GROMACS Energies"\n@    xaxis  label "Time (ps)"\n'
        '@    yaxis  label "(kJ/mol)"\n@TYPE xy\n@ s0 legend "a"\n@ s1 legend "b"\n' + rows("{t:12.6f} {a} {b}"),
        "blank separated, names in the legend, time in ps, one sequence, channels a, b",
    ),
    # numpy.savetxt(header="time a b"): the names are a comment
    "savetxt": (
        "a.txt",
        "# time a b\n" + rows("{t:.18e} {a:.18e} {b:.18e}"),
        "blank separated, names in row 1, time, one sequence, channels a, b",
    ),
    # smFRET traces (for example of iSMS): no names at all
    "no names": (
        "trace.dat",
        rows("{t}\t{a}\t{b}"),
        "tab separated, no names: columns are numbered, time by column 1, one sequence, channels column 2, column 3",
    ),
    # Campbell Scientific TOA5 (LoggerNet manual): names, units and processing in rows 2 to 4, everything in quotes
    "TOA5": (
        "logger.dat",
        '"TOA5","station","CR1000","1","2","prog","3","table"\n"TIMESTAMP","RECORD","a","b"\n"TS","RN","Deg C","%"\n'
        '"","","Avg","Smp"\n' + hours('"2015-06-01 {hour:02d}:00:00",{hour}7,{a},{b}'),
        "comma separated, names in row 2, units in row 3, time in h since 2015-06-01 00:00:00 by TIMESTAMP, "
        "one sequence, channels a, b, left out: RECORD (another in every row)",
    ),
    # Excel in Germany: a line for Excel, Windows' encoding, empty rows at the end
    "Excel": (
        "a.csv",
        comma("sep=;\nZeit (s);a (µm);b\n" + rows("{t};{a};{b}")) + ";;\n;;\n",
        "cp1252, ; separated, decimal comma, names in row 2, time in s by Zeit, one sequence, channels a, b",
    ),
    # Onset HOBO and others: date and time of day in two columns, a preamble without a mark
    "date and clock": (
        "a.csv",
        "Plot Title: pond\nSerial,1234\nDate,Time,a,b\n" + hours("06/20/2021,{hour}:30,{a},{b}"),
        "comma separated, names in row 3, time in h since 2021-06-20 00:30:00 by Date and Time, one sequence, "
        "channels a, b",
    ),
    "American dates": (
        "a.csv",
        "date,a,b\n"
        + "".join(f"{6 + i // 10:02d}/{20 + i % 10}/2021,{a},{b}\n" for i, (a, b) in enumerate(VALUES[:10])),
        "comma separated, time in d since 2021-06-20 00:00:00 by date, one sequence, channels a, b",
    ),
    "American dates that might be European": (
        "a.csv",
        "date,a,b\n" + "".join(f"01/{i + 1:02d}/2021,{a},{b}\n" for i, (a, b) in enumerate(VALUES)),
        "comma separated, time in d since 2021-01-01 00:00:00 by date, dates as month/day/year, one sequence, "
        "channels a, b",
    ),
    "European dates": (
        "a.csv",
        "date,a,b\n" + "".join(f"{i + 1:02d}.03.2021,{a},{b}\n" for i, (a, b) in enumerate(VALUES)),
        "comma separated, time in d since 2021-03-01 00:00:00 by date, dates as day/month/year, one sequence, "
        "channels a, b",
    ),
    # Movebank: zones
    "dates with a zone": (
        "a.csv",
        "timestamp,a,b\n" + hours("2021-03-28T{hour:02d}:00:00.5+01:00,{a},{b}"),
        "comma separated, time in h since 2021-03-27 23:00:00.500000 by timestamp, dates in UTC, one sequence, "
        "channels a, b",
    ),
    # LabVIEW: only a clock, over midnight
    "clock": (
        "a.csv",
        "time,a,b\n" + "".join(f"{(18 + i) % 24:02d}:15:00,{a},{b}\n" for i, (a, b) in enumerate(VALUES)),
        "comma separated, time in s, counted on past midnight, one sequence, channels a, b",
    ),
    "milliseconds since 1970": (
        "a.csv",
        "time,a,b\n" + rows("1600000000{i:01x}00,{a},{b}", 10),
        "comma separated, time in ms since 2020-09-13 12:26:40, one sequence, channels a, b",
    ),
    # MATLAB's datenum
    "days since the year 0": (
        "a.csv",
        "time,a,b\n" + "".join(f"{738000 + i / 24:.6f},{a},{b}\n" for i, (a, b) in enumerate(VALUES)),
        "comma separated, time, first time 738000 subtracted, one sequence, channels a, b",
    ),
    # pandas: to_csv with its index, and with dates as its index
    "an index": (
        "a.csv",
        ",time,a,b\n" + rows("{i},{t},{a},{b}"),
        "comma separated, time, one sequence, channels a, b, left out: column 1 (counts the rows)",
    ),
    "an index of dates": (
        "a.csv",
        ",a,b\n" + hours("2021-03-01 {hour:02d}:00:00,{a},{b}"),
        "comma separated, time in h since 2021-03-01 00:00:00 by column 1, one sequence, channels a, b",
    ),
    # R's write.table: names of rows have no title
    "R": (
        "a.txt",
        '"time" "a" "b"\n' + "".join(f'"{i + 1}" {i / 2} {a} {b}\n' for i, (a, b) in enumerate(VALUES)),
        "blank separated, time, one sequence, channels a, b, left out: column 1 (counts the rows)",
    ),
    # trackpy: frames of particles, sorted by frame
    "trackpy": (
        "a.csv",
        ",a,b,frame,particle\n" + "".join(f"{i},{a},{b},{i // 3},{i % 3}\n" for i, (a, b) in enumerate(VALUES)),
        "comma separated, time by frame, 3 sequences by particle, channels a, b, left out: column 1 (counts the rows)",
    ),
    # NOAA's buoys (NDBC): parts of dates, names and units in two comments, from late to early
    "buoy": (
        "44025h2021.txt",
        "#YY  MM DD hh mm a     b\n#yr  mo dy hr mn m/s   hPa\n"
        + "".join(f"2021 03 01 {11 - i:02d} 50 {a:6.3f} {b:6.3f}\n" for i, (a, b) in enumerate(VALUES)),
        "blank separated, names in row 1, time in h since 2021-03-01 00:50:00 by YY and MM and DD and hh and mm, "
        "one sequence, the last row first, channels a, b",
    ),
    # the German weather service (DWD, hourly values): dates without marks, blanks inside, the end of the row as a word
    "DWD": (
        "produkt_tu_stunde.txt",
        "STATIONS_ID;MESS_DATUM;a;b;eor\n" + hours("        433;20210301{hour:02d};  {a};  {b};eor"),
        "; separated, time in h since 2021-03-01 00:00:00 by MESS_DATUM, one sequence by STATIONS_ID, "
        "eor of every sequence, channels a, b",
    ),
    # Movebank: tracked animals
    "Movebank": (
        "elk.csv",
        "event-id,timestamp,a,b,individual-local-identifier,study-name\n"
        + "".join(
            f'{90 + 7 * i},2021-03-0{1 + i // 6} {i % 6:02d}:00:00.000,{a},{b},"Elk {i // 6}","My, study"\n'
            for i, (a, b) in enumerate(VALUES)
        ),
        "comma separated, time in h since 2021-03-01 00:00:00 by timestamp, 2 sequences by "
        "individual-local-identifier, study-name of every sequence, channels a, b, "
        "left out: event-id (another in every row)",
    ),
    # Axon Text File 1.0 (Molecular Devices): counts and comments before the names
    "ATF": (
        "sweep.atf",
        'ATF\t1.0\n2\t3\n"Comment="\n"Sweep=1"\n"Time (ms)"\t"a (pA)"\t"b (mV)"\n' + rows("{t}\t{a}\t{b}"),
        "tab separated, names in row 5, time in ms, one sequence, channels a, b",
    ),
    # OpenBCI: packets are counted from 0 to 255 again and again
    "OpenBCI": (
        "eeg.txt",
        "%OpenBCI Raw EEG Data\n%Sample Rate = 250 Hz\nSample Index, a, b, Timestamp\n"
        + "".join(f"{i % 5}, {a}, {b}, {1600000000 + i / 250:.3f}\n" for i, (a, b) in enumerate(VALUES)),
        "comma separated, names in row 3, time in s since 2020-09-13 12:26:40 by Timestamp, one sequence, "
        "channels a, b, left out: Sample Index (counts the rows)",
    ),
    # LAMMPS, fix ave/time: the second comment names the columns
    "LAMMPS": (
        "ave.dat",
        "# Time-averaged data for fix 1\n# TimeStep a b\n"
        + "".join(f"{100 * i} {a} {b}\n" for i, (a, b) in enumerate(VALUES)),
        "blank separated, names in row 2, time by TimeStep, one sequence, channels a, b",
    ),
    # the tidyverse: one value in a row
    "tidy": (
        "a.csv",
        "time,variable,value\n" + "".join(f"{i},a,{a}\n{i},b,{b}\n" for i, (a, b) in enumerate(VALUES)),
        "comma separated, every row is one variable, time, one sequence, channels a, b",
    ),
    # psychology: trials within subjects
    "subjects and trials": (
        "a.csv",
        "subject,trial,time,a,b\n"
        + "".join(f"s{i // 6},{i // 3 % 2},{i % 3},{a},{b}\n" for i, (a, b) in enumerate(VALUES)),
        "comma separated, time, 4 sequences by subject and trial, channels a, b",
    ),
    # a label of every row, and one of every sequence
    "labels": (
        "a.csv",
        "id;condition;stage;time;a;b\n"
        + comma(
            "".join(
                f"m{i // 6};{'drug' if i > 5 else 'sham'};{'NR'[i % 2]};{i % 6};{a};{b}\n"
                for i, (a, b) in enumerate(VALUES)
            )
        ),
        "; separated, decimal comma, time, 2 sequences by id, condition of every sequence, channels a, b, left out: "
        "stage (words)",
    ),
    "an unknown title": (
        "a.csv",
        "place,time,a,b\n" + rows("north,{t},{a},{b}") + rows("south,{t},{a},{b}"),
        "comma separated, time, 2 sequences by place, channels a, b",
    ),
    "places by turns": (
        "a.csv",
        "time,place,a,b\n"
        + "".join(f"{i // 2},{['north', 'south'][i % 2]},{a},{b}\n" for i, (a, b) in enumerate(VALUES)),
        "comma separated, time, 2 sequences by place, channels a, b",
    ),
    "time begins anew": (
        "a.csv",
        "time,a,b\n" + rows("{t},{a},{b}") + rows("{t},{a},{b}"),
        "comma separated, time, 2 sequences: time begins anew in row 14, channels a, b",
    ),
    # cat a.csv b.csv
    "titles again": (
        "a.csv",
        "time,a,b\n" + rows("{t},{a},{b}") + "time,a,b\n" + rows("{t},{a},{b}"),
        "comma separated, time, 2 sequences: time begins anew in row 15, channels a, b",
    ),
    # ice cores: the top of the core first, which is the youngest
    "ages": (
        "a.csv",
        "age (kyr),a,b\n" + "".join(f"{i + 1},{a},{b}\n" for i, (a, b) in enumerate(VALUES)),
        "comma separated, time in kyr by minus age, one sequence, the last row first, channels a, b",
    ),
    "from late to early": (
        "a.csv",
        "time (s),a,b\n" + "".join(f"{12 - i},{a},{b}\n" for i, (a, b) in enumerate(VALUES)),
        "comma separated, time in s, one sequence, the last row first, channels a, b",
    ),
    # spreadsheets: one column for each recording
    "wide": (
        "a.csv",
        "time,trial1,trial2\n" + rows("{t},{a},{b}"),
        "comma separated, every column is a sequence, time, 2 sequences by sequence, channel value",
    ),
    "wide, times in the titles": (
        "a.csv",
        "id,0.0,0.5,1.0,1.5\n" + "".join(f"m{i},{a},{b},{a},{b}\n" for i, (a, b) in enumerate(VALUES[:5])),
        "comma separated, every row is a sequence, time, 5 sequences by id, channel value",
    ),
    "quotes": (
        "a.csv",
        '"time","a","b"\n' + rows('"{t}","{a}","{b}"'),
        "comma separated, time, one sequence, channels a, b",
    ),
    "decimal commas in quotes": (
        "a.csv",
        "time,a,b\n"
        + "".join(f'"{comma(str(i / 2))}","{comma(str(a))}","{comma(str(b))}"\n' for i, (a, b) in enumerate(VALUES)),
        "comma separated, decimal comma, time, one sequence, channels a, b",
    ),
    "thousands": (
        "a.csv",
        "time;a\n" + "".join(f"{i};{1 + i % 3}.{100 + 7 * i}.250,5\n" for i in range(12)),
        "; separated, decimal comma, thousands as in 1.100.250,5, time, one sequence, channel a",
    ),
    "a cell of two lines": (
        "a.csv",
        "time,a,b,note\n" + rows('{t},{a},{b},"one\ntwo, three"'),
        "comma separated, time, one sequence, note of every sequence, channels a, b",
    ),
    "commas at the end of the rows": (
        "a.csv",
        "time,a,b,\n" + rows("{t},{a},{b},"),
        "comma separated, time, one sequence, channels a, b",
    ),
    # Fortran's D exponents
    "Fortran": (
        "a.dat",
        "time a b\n" + rows(" {t}D+00 {a}D+00 {b}D+00"),
        "blank separated, time, one sequence, channels a, b",
    ),
    # Igor Pro, text file (manual, "Igor Text Data Block Format"): words of its own around the numbers
    "Igor": (
        "wave.itx",
        "IGOR\nWAVES/D\ttime_s\ta\tb\nBEGIN\n" + rows("\t{t}\t{a}\t{b}") + 'END\nX SetScale d 0,0,"pA", a\n',
        "tab separated, names in row 2, time in s, one sequence, channels a, b",
    ),
    # ADInstruments LabChart, exported text: fields with "=" above a column of times without a name
    "LabChart": (
        "rat.txt",
        "Interval=\t0.5 s\nExcelDateTime=\t4.4256e+004\t3/1/2021 10:00:00\nTimeFormat=\tStartOfBlock\n"
        "ChannelTitle=\ta\tb\nRange=\t10.000 V\t2.000 V\nUnitName=\tmV\tmmHg\n" + rows("{t}\t{a}\t{b}"),
        "tab separated, names in row 4, units in row 6, time in s, one sequence, channels a, b",
    ),
    # Excel: columns and rows that were filled once
    "empty columns and rows at the end": (
        "a.csv",
        "time,a,b,,,\n" + rows("{t},{a},{b},,,") + ",,,,,\n,,,,,\n",
        "comma separated, time, one sequence, channels a, b",
    ),
    "thousands in quotes": (
        "a.csv",
        '"time","a"\n' + "".join(f'"{i}","{1 + i % 3},{100 + 7 * i}.5"\n' for i in range(12)),
        "comma separated, thousands as in 1,100.5, time, one sequence, channel a",
    ),
    "thousands as in Switzerland": (
        "a.csv",
        "time;a\n" + "".join(f"{i};{1 + i % 3}'{100 + 7 * i}.5\n" for i in range(12)),
        "; separated, thousands as in 1'100, time, one sequence, channel a",
    ),
    "thousands as in France": (
        "a.csv",
        "time;a\n" + "".join(f"{i};{1 + i % 3}\u202f{100 + 7 * i},5\n" for i in range(12)),
        "; separated, thousands as in 1\u202f100, decimal comma, time, one sequence, channel a",
    ),
    # loggers on local time: the clock is put forward at 2 in the night
    "a zone that changes": (
        "a.csv",
        "time,a,b\n"
        + "".join(f"2021-03-28T{i + (i > 1):02d}:00:00+0{1 + (i > 1)}:00,{a},{b}\n" for i, (a, b) in enumerate(VALUES)),
        "comma separated, time in h since 2021-03-27 23:00:00, dates in UTC, one sequence, channels a, b",
    ),
    # COMSOL, MATLAB: a long header
    "many lines of %": (
        "a.txt",
        "".join(f"% line {i}, of a header\n" for i in range(40)) + "% time a b\n" + rows("{t} {a} {b}"),
        "blank separated, names in row 41, time, one sequence, channels a, b",
    ),
    "fixed width": (
        "a.txt",
        "    time       a       b\n" + rows("{t:8.2f}{a:8.3f}{b:8.3f}"),
        "blank separated, time, one sequence, channels a, b",
    ),
    # CNS, GAMESS: exponents of one digit, numbers without a point
    "short Fortran": (
        "a.dat",
        "# t a b\n" + rows("{i}D-3 {a}D0 {b}d+0"),
        "blank separated, names in row 1, time by t, one sequence, channels a, b",
    ),
    "units in brackets below": (
        "a.csv",
        comma("Zeit;a;b\n[s];[pN];[nm]\n" + rows("{t};{a};{b}")),
        "; separated, decimal comma, units in row 2, time in s by Zeit, one sequence, channels a, b",
    ),
    "dates from late to early": (
        "a.csv",
        "date,a,b\n" + "".join(f"2021-03-{12 - i:02d},{a},{b}\n" for i, (a, b) in enumerate(VALUES)),
        "comma separated, time in d since 2021-03-01 00:00:00 by date, one sequence, the last row first, channels a, b",
    ),
    # gnuplot: two empty lines between data sets
    "gnuplot": (
        "a.dat",
        "# t a b\n" + rows("{t} {a} {b}") + "\n\n" + rows("{t} {a} {b}"),
        "blank separated, names in row 1, time by t, 2 sequences: time begins anew in row 16, channels a, b",
    ),
    # PicoScope 6: units in parentheses, then an empty line
    "PicoScope": (
        "a.csv",
        "Time,a,b\n(ms),(mV),(V)\n\n" + rows("{t:.8f},{a:.8f},{b:.8f}"),
        "comma separated, units in row 2, time in ms, one sequence, channels a, b",
    ),
}
BYTES = {"Excel": "cp1252"}
"""Encodings of texts that are no UTF-8."""


@pytest.fixture
def put(tmp_path: Path):
    def put(file: str, text: str, encoding: str = "utf-8") -> Path:
        (tmp_path / file).write_bytes(text.encode(encoding))
        return tmp_path / file

    return put


@pytest.mark.parametrize("name", READ)
def test_a_table_is_read_and_says_how(put, name):
    file, text, said = READ[name]
    data = load(put(file, text, BYTES.get(name, "utf-8")))
    guessed = data.attrs["read_as"]
    assert _thousands(guessed) == _thousands(said)
    x = data["observations"].values
    assert np.isfinite(x[0]).all()
    if said.endswith(("channels a, b", "channels column 2, column 3")):
        np.testing.assert_allclose(x.reshape(-1, 2)[0], VALUES[11 if "last row first" in said else 0], rtol=1e-12)


def _thousands(said: str) -> str:
    """Which number is the example does not matter."""
    head, _, rest = said.partition("thousands as in ")
    return head + rest.partition(", time")[2]


def test_there_are_twenty_files_that_nobody_prepared():
    assert len(READ) >= 54


DIALECTS = [
    (separator, decimal, units, trials, dates)
    for separator, decimal in [(",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ","), ("  ", "."), ("|", ",")]
    for units in (False, True)
    for trials in (False, True)
    for dates in (False, True)
    if not (dates and separator == "  ")
]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: " ".join(map(repr, one)))
def test_the_same_numbers_come_back_from_every_dialect(put, dialect):
    separator, decimal, units, trials, dates = dialect
    lines = [["trial"] * trials + ["time", "größe", "b"], ["-"] * trials + ["-" if dates else "s", "µm", "mV"]]
    for i, pair in enumerate(VALUES):
        time = i % 6 if trials else i
        clock = f"2021-03-01 00:{time:02d}:00" if dates else str(time / 2).replace(".", decimal)
        cells = [str(value).replace(".", decimal) for value in pair]
        lines.append([f"r{i // 6}"] * trials + [clock, *cells])
    data = load(put("a.csv", "\n".join(map(separator.join, lines if units else [lines[0], *lines[2:]]))))
    np.testing.assert_array_equal(data["observations"].values.reshape(-1, 2), VALUES)
    np.testing.assert_allclose(data["time"].diff("time"), 1.0 if dates else 0.5)
    assert data["sequence"].values.tolist() == (["r0", "r1"] if trials else [0])
    assert data["channel"].values.tolist() == ["größe", "b"]
    if units:
        assert data["unit"].values.tolist() == ["µm", "mV"]


def test_times_and_values_are_those_of_the_file(put):
    """Known numbers, to the last digit, through the hardest of the texts."""
    file, text, _ = READ["Excel"]
    data = load(put(file, text, "cp1252"))
    np.testing.assert_array_equal(data["time"], np.arange(12) / 2)
    np.testing.assert_array_equal(data["observations"][0], VALUES)
    assert data["channel"].values.tolist() == ["a", "b"]
    assert data["unit"].values.tolist() == ["µm", ""]
    assert data.attrs["units"] == data["time"].attrs["units"] == "s"


@pytest.mark.parametrize(
    ("name", "times", "unit", "origin"),
    [
        ("dates", np.arange(12.0), "h", "2021-03-01T00:00:00"),
        ("European dates", np.arange(12.0), "d", "2021-03-01T00:00:00"),
        ("dates with a zone", np.arange(12.0), "h", "2021-03-27T23:00:00.500000"),
        ("date and clock", np.arange(12.0), "h", "2021-06-20T00:30:00"),
        ("TOA5", np.arange(12.0), "h", "2015-06-01T00:00:00"),
        ("milliseconds since 1970", 100 * np.arange(10.0), "ms", "2020-09-13T12:26:40"),
        ("clock", 3600 * (18.25 + np.arange(12.0)), "s", None),
        ("Igor", np.arange(12) / 2, "s", None),
        ("LabChart", np.arange(12) / 2, "s", None),
        ("a zone that changes", np.arange(12.0), "h", "2021-03-27T23:00:00"),
        ("short Fortran", np.arange(12) / 1000, None, None),
        ("dates from late to early", np.arange(12.0), "d", "2021-03-01T00:00:00"),
        ("days since the year 0", np.arange(12) / 24, None, "738000"),
        ("from late to early", np.arange(1.0, 13), "s", None),
        ("ages", np.arange(-12.0, 0), "kyr", None),
    ],
)
def test_times_count_in_a_unit_that_is_said(put, name, times, unit, origin):
    data = load(put(*READ[name][:2]))
    np.testing.assert_allclose(data["time"], times, atol=1e-6)
    assert data.attrs.get("units") == unit
    assert data.attrs.get("time_origin") == origin


@pytest.mark.parametrize(
    ("name", "sequences", "lengths"),
    [
        ("trials", [0, 1], [12, 9]),
        ("animals on one clock", [0, 1, 2], [4, 4, 4]),
        ("nights", ["first", "second"], [12, 12]),
        ("trackpy", [0, 1, 2], [4, 4, 4]),
        ("subjects and trials", ["s0/0", "s0/1", "s1/0", "s1/1"], [3, 3, 3, 3]),
        ("places by turns", ["north", "south"], [6, 6]),
        ("titles again", [0, 1], [12, 12]),
        ("wide", ["trial1", "trial2"], [12, 12]),
        ("gnuplot", [0, 1], [12, 12]),
        ("wide, times in the titles", ["m0", "m1", "m2", "m3", "m4"], [4] * 5),
    ],
)
def test_sequences_keep_their_names(put, name, sequences, lengths):
    data = load(put(*READ[name][:2]))
    assert data["sequence"].values.tolist() == sequences
    assert np.isfinite(data["observations"].values).all(-1).sum(-1).tolist() == lengths


def test_a_label_of_every_sequence_is_a_coordinate(put):
    data = load(put(*READ["labels"][:2]))
    assert data["condition"].dims == ("sequence",)
    assert data["condition"].values.tolist() == ["sham", "drug"]


def test_states_may_be_words(put):
    text = "time,a,state\n" + "".join(f"{i},{a},{['shut', 'open', 'open'][i % 3]}\n" for i, (a, _) in enumerate(VALUES))
    data = load(put("a.csv", text))
    assert data["states"].values[0, :3].tolist() == [1, 0, 0]
    assert data["states"].attrs["names"] == ["open", "shut"]


@pytest.mark.parametrize(
    ("encoding", "said"), [("utf-8-sig", ""), ("utf-16", "utf-16, "), ("utf-8", ""), ("cp1252", "cp1252, ")]
)
def test_encodings(put, encoding, said):
    data = load(put("a.csv", "time,größe\n" + rows("{t},{a}"), encoding))
    assert data.attrs["read_as"] == f"{said}comma separated, time, one sequence, channel größe"


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_compressed_files(tmp_path, suffix, pack):
    path = tmp_path / f"a.csv{suffix}"
    path.write_bytes(pack(b"time,a,b\n" + rows("{t},{a},{b}").encode()))
    np.testing.assert_array_equal(load(path)["observations"][0], VALUES)


def test_line_ends_of_every_system(put):
    text = "time,a,b\n" + rows("{t},{a},{b}")
    for end in ("\r\n", "\r"):
        np.testing.assert_array_equal(load(put("a.csv", text.replace("\n", end)))["observations"][0], VALUES)


@pytest.mark.parametrize("name", ["thousands in quotes", "thousands as in Switzerland", "thousands as in France"])
def test_groups_of_digits_are_one_number(put, name):
    np.testing.assert_array_equal(
        load(put(*READ[name][:2]))["observations"][0, :, 0], [1000 * (1 + i % 3) + 100 + 7 * i + 0.5 for i in range(12)]
    )


def test_several_words_for_missing_in_one_file(put):
    text = "time,a,b\n" + rows("{t},{a},{b}") + "6.0,NA,1\n6.5,n/a,--\n7.0,nan,1.5\n7.5,1,\n"
    x = load(put("a.csv", text))["observations"].values[0, 12:]
    np.testing.assert_array_equal(x, [[np.nan, 1], [np.nan, np.nan], [np.nan, 1.5], [1, np.nan]])


@pytest.mark.parametrize("text", ["5D-3x", "well-1D2", "A'123", "2.1D", "1D2"])
def test_names_that_look_like_numbers_stay(put, text):
    data = load(put("a.csv", f"name;time;a\n{text};0;1\n{text};1;2\n{text};2;1\n"), sequence="name")
    assert data["sequence"].values.tolist() == [text]


@pytest.mark.parametrize("mark", ["", "NA", "NaN", "nan", "-", ".", "?", "NAN", "n/a", "null", "#N/A"])
def test_what_means_missing(put, mark):
    text = "time,a,b\n" + rows("{t},{a},{b}") + f"6.0,{mark},1.5\n"
    np.testing.assert_array_equal(load(put("a.csv", text))["observations"][0, -1], [np.nan, 1.5])


def test_options_say_what_would_be_guessed_otherwise(put):
    text = "when,who,a,b,c\n" + "".join(f"{i % 6},{i // 6},{a},{b},{i % 5}\n" for i, (a, b) in enumerate(VALUES))
    with pytest.raises(DataError, match=r"no column is a time: it has when, who, a, b, c\. Name it with --time"):
        load(put("a.csv", text))
    data = load(put("a.csv", text), time="when", sequence="who", channels="b,a")
    assert data["channel"].values.tolist() == ["b", "a"]
    np.testing.assert_array_equal(data["observations"].values.reshape(-1, 2), VALUES[:, ::-1])
    assert data.attrs["read_as"] == "comma separated, time by when, 2 sequences by who, channels b, a"


def test_a_column_that_counts_is_the_time_whatever_its_title(put):
    text = "bin,a,b\n" + "".join(f"{3 * i},{a},{b}\n" for i, (a, b) in enumerate(VALUES))
    data = load(put("a.csv", text))
    assert data["time"].values[:3].tolist() == [0, 3, 6]
    assert data.attrs["read_as"] == "comma separated, time by bin, one sequence, channels a, b"
    two = "bin,pixel,a\n" + "".join(f"{3 * i},{i},{a}\n" for i, (a, _) in enumerate(VALUES))
    with pytest.raises(
        DataError, match=r"no column is a time: it has bin, pixel, a\. Name it with --time \(perhaps bin"
    ):
        load(put("two.csv", two))


def test_rows_may_be_the_times(put):
    text = "a,b\n" + rows("{a},{b}")
    data = load(put("a.csv", text), time="rows")
    np.testing.assert_array_equal(data["time"], np.arange(12))
    np.testing.assert_array_equal(data["observations"][0], VALUES)


def test_titles_that_count_are_asked_about(put):
    path = put("a.csv", ",0,1,2\n" + rows("{i},{a},{b},{t}"))
    with pytest.raises(DataError, match=r"the titles count from 0 to 2\. Give --time rows where they are channels"):
        load(path)
    with pytest.warns(DoubtfulDataWarning, match=r"channel 2 grows by 0\.5 from row to row"):
        as_channels = load(path, time="rows")
    assert dict(as_channels["observations"].sizes) == {"sequence": 1, "time": 12, "channel": 3}
    as_times = load(path, time="columns")
    assert dict(as_times["observations"].sizes) == {"sequence": 12, "time": 3, "channel": 1}


def test_columns_may_be_the_sequences(put):
    data = load(put("a.csv", "time,left,right\n" + rows("{t},{a},{b}")), sequence="columns")
    assert data["sequence"].values.tolist() == ["left", "right"]
    np.testing.assert_array_equal(data["observations"][..., 0], VALUES.T)


@pytest.mark.parametrize("missing", ["-999", "-999,x", -999, [-999.0, "x"]])
def test_missing_values_of_any_kind(put, missing):
    text = "time,a\n" + rows("{t},{a}") + "6,-999.0\n7,-999\n" + "8,x\n" * ("x" in str(missing))
    x = load(put("a.csv", text), missing=missing)["observations"].values[0, :, 0]
    np.testing.assert_array_equal(x[:12], VALUES[:, 0])
    assert np.isnan(x[12:]).all()


DOUBTED: dict[str, tuple[str, str]] = {
    "sentinels": (
        "time,a,b\n" + rows("{t},{a},{b}") + "6,-999,0.5\n7,-999,-999\n",
        r"the value -999 occurs 3 times \(in a, b\) and is far from all others: is it 'missing'\? Then give --mis",
    ),
    "one sentinel": ("time,a\n" + rows("{t},{a}") + "6,9999\n", r"the value 9999 occurs once \(in a\)"),
    "huge": ("time,a\n" + rows("{t},{a}") + "6,1e30\n", r"the value 1e\+30 occurs once"),
    "a counter": (
        "time,n,a\n" + rows("{t},{i},{a}"),
        r"channel n grows by 1 from row to row: is it a counter or another clock\? Then leave it out with --channels",
    ),
    "an identifier": (
        "time,animal tag,a\n" + "".join(f"{i},{7 + i // 12},{a}\n" for i, a in enumerate(np.tile(VALUES[:, 0], 3))),
        r"channel animal tag changes 2 times and is whole-numbered: is it the name of the sequences\? Then give --sequ",
    ),
    "a name twice": ("time,a,a\n" + rows("{t},{a},{b}"), r"several columns are called a: they are read as a, a\.2, …"),
    "a row cut short": (
        "time,a,b\n" + rows("{t},{a},{b}") + "6,0.5",
        r"row 14 has 2 cells for 3 columns, as one of 1: the last are taken as missing",
    ),
    "both decimal marks": (
        "time;a\n0,0;1,5\n1,0;2.5\n2,0;3,5\n3,0;1,5\n",
        r"row 3 has 2\.5 among numbers with decimal commas: it is read as a decimal point\. Write all numbers alike\.",
    ),
    "angles of PLUMED": (
        "#! FIELDS time phi\n#! SET min_phi -pi\n#! SET max_phi pi\n" + rows("{t} {a}"),
        r"phi: the file says that this is periodic, .* Give --angle phi, and cosine and sine are read\.",
    ),
}


def test_an_angle_that_the_file_declares_is_not_doubted_once_it_is_read_as_one(put):
    data = load(put("a.csv", DOUBTED["angles of PLUMED"][0]), angle="phi")
    assert data["channel"].values.tolist() == ["cos phi", "sin phi"]


@pytest.mark.parametrize("name", DOUBTED)
def test_what_is_doubtful_is_read_and_says_its_remedy(put, name):
    text, message = DOUBTED[name]
    with pytest.warns(DoubtfulDataWarning, match=message):
        load(put("a.csv", text))


@pytest.mark.parametrize(
    "column",
    [
        np.random.default_rng(0).poisson(3.0, 60),
        np.random.default_rng(1).standard_cauchy(60).round(6),
        np.repeat([0.0, 5.0, 0.0, 5.0], 15),
        np.random.default_rng(2).lognormal(0, 2, 60).round(4),
    ],
    ids=["counts", "heavy tails", "two exact levels", "skewed"],
)
def test_honest_channels_are_not_doubted(put, column):
    text = "time,a\n" + "".join(f"{i},{value}\n" for i, value in enumerate(column))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(load(put("a.csv", text))["observations"][0, :, 0], column)


REFUSED: dict[str, tuple[str, type[NLDError], str]] = {
    "a word in the middle": (
        "time,a\n0,1\n1,2\n\n2,high\n3,1\n4,2\n",
        DataError,
        "the column a must hold numbers: got 'high' in row 5. Correct it, leave it empty where missing, or give --mi",
    ),
    "a word below comments": (
        "# one\n# two\ntime,a\n0,1\n1,oops\n2,1\n3,1\n",
        DataError,
        "got 'oops' in row 5.",
    ),
    "text": (
        "once upon a time\nthere was no table\nin this file\n",
        DataError,
        "it holds no table of numbers: row 3 is 'in this file'. Give one row per time, one column per channel.",
    ),
    "comments alone": ("# a\n# b\n", DataError, "it holds no table: every line is empty or a comment."),
    "bytes": ("time,a\0\n0,1\n", DataError, "it is not text: it holds bytes of zero. Save it as CSV."),
    "a spreadsheet": ("PK\x03\x04 and so on", DataError, "it is a zip archive or a spreadsheet, not text. Save"),
    "a cell too many": (
        "time,a\n" + rows("{t},{a}") + "6,Doe, John,1\n",
        DataError,
        "row 14 has 4 cells for 2 columns: '6,Doe, John,1'. Text that holds the separator needs quotes.",
    ),
    "a cell too few between blanks": (
        "time a b\n" + rows("{t} {a} {b}") + "6 1\n",
        DataError,
        "row 14 has 2 cells for 3 columns: '6 1'. Write nan where a value is missing.",
    ),
    "rows out of order": (
        "time,a\n0,1\n1,2\n3,3\n2,4\n4,5\n5,1\n",
        TimeGridError,
        "times must increase within a sequence: row 5 has 2 after 3 in row 4. Sort or drop it; where they are several "
        "recordings, name the column that tells them apart with --sequence.",
    ),
    "a time twice": (
        "time,a\n0,1\n1,2\n1,3\n2,4\n4,5\n5,1\n",
        TimeGridError,
        "times must increase within a sequence: row 4 has 1 after 1 in row 3. Drop or average what has one time, or "
        "count the rows with --time rows where a clock is too coarse; where they are several recordings, name",
    ),
    "a date that is none": (
        "time,a\n" + hours("2021-03-01 {hour:02d}:00:00,{a}") + "yesterday,2\n",
        DataError,
        "the column time must hold numbers or dates: got 'yesterday' in row 14. Correct it or drop the row.",
    ),
    "a word among decimal commas": (
        "time;a;b\n" + comma(rows("{t};{a};{b}")) + "6,5;bad;1,5\n",
        DataError,
        "the column a must hold numbers: got 'bad' in row 14. Correct it",
    ),
    "no name": ("id,time,a\nx,0,1\nx,1,2\n,2,3\n", DataError, "every row needs a id: row 4 has none."),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_names_row_column_and_cause(put, name):
    text, kind, message = REFUSED[name]
    path = put("a.csv", text)
    with pytest.raises(kind) as caught:
        load(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_column_that_is_not_there_is_refused_with_the_names_that_are(put):
    path = put("a.csv", "time,a\n" + rows("{t},{a}"))
    for option in ("time", "sequence", "channels"):
        with pytest.raises(DataError, match=r"there is no column left: it has time, a\. Name one of these\."):
            load(path, **{option: "left"})


def test_arrays_take_no_options(tmp_path):
    np.savez(tmp_path / "a.npz", times=np.arange(12.0), observations=VALUES[None])
    with pytest.raises(DataError, match=r"--time can be given for a table alone"):
        load(tmp_path / "a.npz", time="t")


def test_far_values_keep_their_digits(put):
    """9.19 GHz ± 1 Hz: nothing of it would be left in single precision."""
    level = 9192631770.0 + 3.0 * (np.arange(12) // 4)
    text = "time,frequency,a\n" + "".join(
        f"{i},{v:.3f},{a}\n" for i, (v, a) in enumerate(zip(level, VALUES[:, 0], strict=True))
    )
    data = load(put("a.csv", text))
    assert data["channel"].values.tolist() == ["frequency - 9192631770", "a"]
    assert data["origin"].values.tolist() == [9192631770.0, 0.0]
    np.testing.assert_allclose(data["observations"][0, :, 0], level - 9192631770.0, atol=1e-6)
    np.testing.assert_array_equal(data["observations"][0, :, 1], VALUES[:, 0])
    assert data.attrs["read_as"].endswith("9192631770 subtracted from frequency")


def test_a_frame_in_memory_is_read_alike():
    frame = pd.DataFrame({"trial": np.repeat(["x", "y"], 6), "t (ms)": np.tile(np.arange(6), 2), "a": VALUES[:, 0]})
    data = from_table(frame)
    assert data.attrs["read_as"] == "time in ms by t, 2 sequences by trial, channel a"
    xr_alike = from_table(frame.set_index(["trial", "t (ms)"]))
    np.testing.assert_array_equal(xr_alike["observations"], data["observations"])
    np.testing.assert_array_equal(data["observations"].values.ravel(), VALUES[:, 0])


def test_large_tables_are_read_in_seconds(put):
    """A hundred thousand rows: nothing is quadratic."""
    x = np.random.default_rng(0).normal(size=100_000).round(3)
    path = put("a.csv", "time,a\n" + "".join(f"{i},{value}\n" for i, value in enumerate(x)))
    begin = time.process_time()
    np.testing.assert_array_equal(load(path)["observations"][0, :, 0], x)
    assert time.process_time() - begin < 10
