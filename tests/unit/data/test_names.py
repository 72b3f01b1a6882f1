"""What text calls structures, what kinds of lesions are, and a table of the user's on top."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from unireason.cli import main
from unireason.core.errors import FormatError
from unireason.data import names
from unireason.data.dataset import Dataset

TOTALSEGMENTATOR = """
spleen kidney_right kidney_left gallbladder liver stomach pancreas adrenal_gland_right adrenal_gland_left
lung_upper_lobe_left lung_lower_lobe_left lung_upper_lobe_right lung_middle_lobe_right lung_lower_lobe_right esophagus
trachea thyroid_gland small_bowel duodenum colon urinary_bladder prostate kidney_cyst_left kidney_cyst_right sacrum
vertebrae_S1 vertebrae_L5 vertebrae_L1 vertebrae_T12 vertebrae_T1 vertebrae_C7 vertebrae_C1 heart aorta pulmonary_vein
brachiocephalic_trunk subclavian_artery_right common_carotid_artery_left brachiocephalic_vein_left atrial_appendage_left
superior_vena_cava inferior_vena_cava portal_vein_and_splenic_vein iliac_artery_left iliac_vena_right humerus_left
scapula_left clavicula_left femur_left hip_left spinal_cord gluteus_maximus_left gluteus_medius_left
gluteus_minimus_left autochthon_left iliopsoas_left brain skull rib_left_1 rib_right_12 sternum costal_cartilages
lung_left vertebrae intervertebral_discs heart_myocardium heart_atrium_left heart_ventricle_right pulmonary_artery face
"""
OTHERS = """
postcava IVC prostate/uterus bladder gall_bladder RAG LAG Precentral_L Frontal_Sup_Orb_R Cerebelum_Crus1_L
Cerebelum_4_5_L Cerebelum_8_R Vermis_1_2 Vermis_10 Heschl_R ParaHippocampal_L Cingulum_Post_R Temporal_Pole_Mid_L
Supp_Motor_Area_R SupraMarginal_L Caudate_L Pallidum_R optic_disc optic_cup PZ TZ LV RV Myo hepatic_vessel liver_tumour
pancreas_tumor colon_cancer_primaries lung_nodules peritumoral_edema
"""
LESIONS = """
glioma meningioma haematoma hematoma haemangioma abscess stroke ulcer bleeding COVID-19_infection HCC GTVp microaneurysm
microaneurysms hard_exudates white_matter_hyperintensity WMH keratosis seborrheic_keratosis polyp polyps naevus nevus
nodule edema pleural_effusion pneumothorax consolidation necrosis non-enhancing_tumor enhancing_tumor melanoma
skin_lesion left_kidney_cyst necrotic_tumor_core metastases
"""


@pytest.fixture(autouse=True)
def packaged() -> Iterator[None]:
    """No table of a user's is left behind."""
    yield
    names.use({})


@pytest.mark.parametrize("raw", (TOTALSEGMENTATOR + OTHERS + LESIONS).split())
def test_names_of_published_sets_are_known(raw: str) -> None:
    found = names.known(names.readable(raw))
    assert found.known
    assert "_" not in found.display
    assert "{" not in found.display + found.plural
    assert found.group != "other"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("vertebrae_L2", "the L2 vertebra"),
        ("lung_middle_lobe_right", "the middle lobe of the right lung"),
        ("iliac_vena_left", "the left common iliac vein"),
        ("autochthon_left", "the left autochthonous back muscle"),
        ("postcava", "the inferior vena cava"),
        ("ivc", "the inferior vena cava"),
        ("Cerebelum_7b_L", "the left cerebellar lobule VIIB"),
        ("Cerebelum_8_R", "the right cerebellar lobule VIII"),
        ("Cerebelum_4_5_L", "the left cerebellar lobules IV and V"),
        ("Vermis_10", "the vermian lobule X"),
        ("Frontal_Inf_Orb_R", "the orbital part of the right inferior frontal gyrus"),
        ("rib_left_4", "the left fourth rib"),
        ("hip_right", "the right hip bone"),
        ("heart_atrium_left", "the left atrium"),
        ("portal_vein_and_splenic_vein", "the portal and splenic veins"),
        ("liver_segment_4", "segment IV of the liver"),
        ("HCC", "the hepatocellular carcinoma"),
        ("hard_exudates", "the hard exudates"),
        ("left kidney", "the left kidney"),
        ("gizmo", "the gizmo"),
    ],
)
def test_what_a_text_says(raw: str, said: str) -> None:
    key = names.readable(raw)
    assert names.the(key) == said
    assert names.the(names.display(key)) in (said, f"the {names.display(key)}")  # saying it twice changes nothing


@pytest.mark.parametrize(
    ("key", "article", "many", "is_many"),
    [
        ("vertebrae l2", "an L2 vertebra", "L2 vertebrae", False),
        ("ulcer", "an ulcer", "ulcers", False),
        ("uterus", "a uterus", "uteri", False),
        ("edema", "edema", "edema", False),
        ("hard exudates", "hard exudates", "hard exudates", True),
        ("lung nodules", "lung nodules", "lung nodules", True),
        ("pulmonary vein", "pulmonary veins", "pulmonary veins", True),
        ("metastasis", "a metastasis", "metastases", False),
        ("left ovary", "a left ovary", "left ovaries", False),
        ("lung upper lobe", "an upper lobe of the lung", "upper lobes of the lung", False),
    ],
)
def test_articles_and_numbers(key: str, article: str, many: str, is_many: bool) -> None:
    assert (names.a(key), names.plural(key), names.is_plural(key)) == (article, many, is_many)


@pytest.mark.parametrize("raw", LESIONS.split())
def test_lesions_are_lesions(raw: str) -> None:
    assert names.is_lesion(names.readable(raw))
    assert names.group(names.readable(raw)) == "lesion"


@pytest.mark.parametrize("raw", [*TOTALSEGMENTATOR.split()[:22], *OTHERS.split()[:30], "stroma", "gizmo", "left ventricle"])
def test_organs_are_none(raw: str) -> None:
    assert not names.is_lesion(names.readable(raw))


def test_the_optic_disc_is_no_bone() -> None:
    assert (names.group("optic disc"), names.group("intervertebral disc")) == ("eye", "skeleton")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("melanoma", "skin lesion"),
        ("seborrheic keratosis", "skin lesion"),
        ("hcc", "liver tumor"),
        ("hcc", "liver lesion"),
        ("hepatocellular carcinoma", "hcc"),
        ("glioma", "brain tumour"),
        ("gtvp", "tumor"),
        ("left kidney cyst", "kidney cyst"),
        ("stroke", "lesion"),
        ("subdural hematoma", "bleeding"),
        ("left kidney", "kidney"),
        ("postcava", "inferior vena cava"),
    ],
)
def test_special_cases(name: str, kind: str) -> None:
    assert names.is_a(name, kind)
    assert names.related(kind, name)
    assert not names.is_a("spleen", kind)


@pytest.mark.parametrize(
    ("name", "other", "kin"),
    [
        ("duodenum", "small bowel", True),
        ("left ventricle", "heart", True),
        ("vertebrae l2", "spine", True),
        ("left precentral", "brain", True),
        ("tumor", "liver lesion", True),  # where it lies is not told
        ("kidney cyst", "liver cyst", False),
        ("edema", "tumor", False),
        ("left kidney", "right kidney", False),
        ("liver", "liver tumor", False),
        ("polyp", "melanoma", False),
    ],
)
def test_kinship(name: str, other: str, kin: bool) -> None:
    assert names.related(name, other) is names.related(other, name) is kin


def test_the_longest_name_that_a_text_says() -> None:
    there = ["left kidney", "left kidney cyst", "vertebrae l2", "polyp"]
    found = names.mentions("Polyps? The left kidney cyst, in the left kidney, at the L2 vertebra; no kidneys.", there)
    assert [key for _, _, key in found] == ["polyp", "left kidney cyst", "left kidney", "vertebrae l2"]
    assert names.key_of("The L2 vertebra", there) == names.key_of("vertebrae l2", there) == "vertebrae l2"
    assert names.key_of("spleen", there) == ""


OWN = """
[organ."abdomen"]
"my pouch" = "Hartmann's pouch"

[lesion."liver"]
glomus = { is = ["tumor"], plural = "glomera", spellings = ["glm"] }

[[rules]]
pattern = 'level (?P<n>\\d)'
display = "lymph node level {n_roman}"
kind = "region"
group = "glands and nodes"
"""


def test_a_table_of_the_users_comes_on_top(tmp_path: Path) -> None:
    (tmp_path / "names.toml").write_text(OWN)
    assert not names.known("my pouch").known
    names.use(names.read_own(tmp_path / "names.toml"))
    assert names.the("my pouch") == "the Hartmann's pouch"
    assert names.group("my pouch") == "abdomen"
    assert names.is_a("glm", "liver tumor")
    assert names.plural("glm") == "glomera"
    assert names.the("left level 3") == "the left lymph node level III"
    assert names.the("vertebrae l2") == "the L2 vertebra"
    names.use({})
    assert names.the("my pouch") == "the my pouch"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[organs.abdomen]\nx = 'y'", "organs"),
        ("[organ]\nx = 'y'", "organ"),
        ("[organ.abdomen]\nx = { shown = 'y' }", "shown"),
        ("[organ.abdomen]\nx = { paired = 'y' }", "paired"),
        ("[organ.abdomen]\nx = { number = 'two' }", "two"),
        ("[organ.abdomen]\nx = { near = { under = 'liver' } }", "under"),
        ("[organ.abdomen]\nx = 5", "5"),
        ("[[rules]]\npattern = '('\ndisplay = 'x'\nkind = 'organ'\ngroup = 'g'", "regular expression"),
        ("[[rules]]\ndisplay = 'x'", "rule"),
        ("[organ", "TOML"),
    ],
)
def test_what_is_wrong_with_a_table_is_told(text: str, word: str, tmp_path: Path) -> None:
    (tmp_path / "names.toml").write_text(text)
    with pytest.raises(FormatError, match=word):
        names.read_own(tmp_path / "names.toml")
    with pytest.raises(FormatError, match="cannot be read"):
        names.read_own(tmp_path / "none.toml")


def test_inspect_lists_names_and_takes_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "names.toml").write_text("[organ.abdomen]\nliver = 'big liver'")
    command = ["data", "inspect", "phantom", "--option", "patients=3", "--sheet", str(tmp_path / "s.png"), "--quiet"]
    assert main([*command, "--json", "--names", str(tmp_path / "names.toml")]) == 0
    told = {entry["raw"]: entry for entry in json.loads(capsys.readouterr().out)["names"]}
    assert told["liver"] == {"raw": "liver", "display": "big liver", "kind": "organ"}
    assert told["left kidney"]["kind"] == "organ"
    assert main([*command, "--names", str(tmp_path / "names.toml")]) == 0
    assert "big liver" in capsys.readouterr().out
    assert main([*command, "--names", str(tmp_path / "nothing.toml")]) == 2


def test_a_built_set_says_names_as_a_reader_would(tmp_path: Path) -> None:
    own = '[organ.abdomen]\n"gallbladder" = "biliary sac"\n"left kidney" = "kidney of the left side"\n'
    (tmp_path / "names.toml").write_text(own)
    out = tmp_path / "set"
    command = ["data", "build", "phantom", "--patients", "6", "--questions", "8", "--out", str(out), "--quiet"]
    run = partial(subprocess.run, capture_output=True, text=True)  # as a user does: in processes of their own
    assert run([sys.executable, "-m", "unireason", *command, "--names", str(tmp_path / "names.toml")]).returncode == 0
    names.use({})
    samples = list(Dataset.open(out).samples())
    said = [" ".join((s.question.text, *s.question.options, s.response)) for s in samples]
    assert any("biliary sac" in text for text in said)
    assert not [text for text in said if "gallbladder" in text or "left kidney" in text.replace("left kidney mass", "")]
    assert any("kidney of the left side" in s.question.options for s in samples)
    assert any("left kidney" in s.question.needs for s in samples)  # records keep the key
    told = run([sys.executable, "-m", "unireason", "data", "check", str(out), "--quiet", "--json"]).stdout
    counts = json.loads(told)["counts"]
    assert {name: n for name, n in counts.items() if n and name not in ("balance", "shortcut")} == {}
