from hcal_root_ad.publish.check import check_file


def test_published_file_is_accepted_and_named_for_the_gui(published):
    assert published.name == "DQM_V0001_R000370101__HcalML__Run3-HcalRootAd-v1__DQMIO.root"
    assert check_file(published) == ()
    assert [path.name for path in published.parent.iterdir()] == [published.name]
