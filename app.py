"""AIGI Explorer: ``streamlit run app.py``. Wiring only; what the app shows is in pages/, how it is shown in ui/."""

import streamlit as st

import ui

st.set_page_config(page_title="AIGI Explorer", page_icon=":material/grid_view:", layout="wide")
page = st.navigation(ui.navigation())
ui.start()
ui.frame()
page.run()
